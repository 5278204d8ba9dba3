"""
The protocols of the core, as models that spin searches through to the end; and each mutation of them, which it must find.

A model names its mutations in its opening comment. ``-DNAME`` leaves something out or swaps two steps, and a model that does not
mind is no proof of anything.
"""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tools import need

HERE = Path(__file__).parent
MODELS = sorted(path.stem for path in HERE.glob("*.pml"))
COMPILE = ["-w", "-O0", "-DSAFETY", "-DVECTORSZ=4096", "-DNOREDUCE"]


def mutations(model: str) -> list[str]:
    """The names in capitals that the model's opening comment explains and its text asks for."""
    text = (HERE / f"{model}.pml").read_text()
    named = re.findall(r"\b([A-Z][A-Z_]{4,}) \(", text.partition("*/")[0])
    assert named, f"{model}.pml names no mutations"
    for name in named:
        assert re.search(rf"#ifn?def {name}\b", text), f"{model}.pml names {name}, but nothing depends on it"
    return named


def search(model: str, folder: Path, mutation: str | None) -> tuple[int, int]:
    """How many errors spin finds, and in how many states. The search ends at the first error, else it is exhaustive."""
    folder.mkdir()
    shutil.copy(HERE / f"{model}.pml", folder)
    define = [f"-D{mutation}"] if mutation else []
    run = {"cwd": folder, "check": True, "capture_output": True, "text": True, "timeout": 100}
    subprocess.run(["spin", "-a", *define, f"{model}.pml"], **run)  # type: ignore[call-overload]
    subprocess.run(["gcc", *COMPILE, "-o", "pan", "pan.c"], **run)  # type: ignore[call-overload]
    said: str = subprocess.run(["./pan", "-m1000000"], **run).stdout  # type: ignore[call-overload]
    assert "max search depth too small" not in said, said
    errors, states = re.search(r"errors: (\d+)", said), re.search(r"(\d+) states, stored", said)
    assert errors, said
    assert states, said
    return int(errors[1]), int(states[1])


@pytest.mark.parametrize("model", MODELS)
def test_the_protocol_holds_and_every_mutation_of_it_does_not(model: str, tmp_path: Path) -> None:
    need("spin", "gcc")
    variants = [None, *mutations(model)]
    with ThreadPoolExecutor(2) as two:
        found = list(two.map(lambda v: search(model, tmp_path / (v or "whole"), v), variants))
    for variant, (errors, states) in zip(variants, found, strict=True):
        print(f"{model}{' -D' + variant if variant else ''}: {states} states, {errors} errors")
    assert found[0][0] == 0, f"spin finds an error in {model}.pml"
    survived = [variant for variant, (errors, _) in zip(variants, found, strict=True) if variant and not errors]
    assert not survived, f"{model}.pml does not notice {survived}"
