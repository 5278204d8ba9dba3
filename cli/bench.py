"""
``shmchan bench``: measures this machine, and says how shmchan does beside others.

Owns the options, the progress line, the tables and the exit code. The benchmarks are `shmchan.bench`, which is part of the
installed package, so that anybody can repeat a number. Runs in one process that starts what it measures.
"""

import sys

import click

from shmchan.bench import results, suite
from shmchan.exceptions import ShmchanError

NAMES = [benchmark.name for benchmark in suite.BENCHMARKS]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: shows that everything works, less how fast.")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="The same as NAME; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each measurement instead of tables.")
def bench(names: tuple[str, ...], quick: bool, only: tuple[str, ...], as_json: bool) -> int:
    """Measure the channel layer and the server on this machine, beside rivals under the same load; with NAMEs only those.

    Rivals that are not installed are named and left out. Exit code 1: something failed, or a message was lost, came twice or out
    of order.
    """
    wanted = (*names, *only)
    chosen = [benchmark for benchmark in suite.BENCHMARKS if not wanted or is_wanted(benchmark.name, wanted)]
    measurements: list[results.Measurement] = []
    failed = False
    if not as_json:
        click.echo(f"shmchan {results.commit()} on {results.machine()}\n")
    for benchmark in chosen:
        try:
            part = benchmark.run(quick=quick, progress=show_progress)
        except ShmchanError as error:
            clear_progress()
            click.echo(f"shmchan bench: {benchmark.name} failed: {error}", err=True)
            failed = True
            continue
        clear_progress()
        measurements += part
        if as_json:
            for each in part:
                click.echo(each.json_line())
        else:
            click.echo(results.table(f"{benchmark.name}: {benchmark.question}", part) + "\n")
    if not as_json:
        show_targets(measurements)
    return 1 if failed or not all(each.sound for each in measurements) else 0


def is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a benchmark was named, or stands under one that was: `delay` means `delay-fire` as well."""
    return any(name == one or name.startswith(f"{one}-") for one in wanted)


def show_targets(measurements: list[results.Measurement]) -> None:
    """One line for each target that was measured."""
    judged = [(target, verdict) for target in suite.TARGETS if (verdict := target.judge(measurements)) is not None]
    if judged:
        click.echo("Targets (medians of this run)")
    for target, (met, value) in judged:
        click.echo(f"  {'met ' if met else 'MISSED'.ljust(4)}  {value:>9}  {target.text}")


def show_progress(text: str) -> None:
    """What is being measured: one line that changes on a terminal, else a line each."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{text}", nl=False, err=True)
    else:
        click.echo(text, err=True)


def clear_progress() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)
