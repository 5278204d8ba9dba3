"""
``python -m examples.multichat NAME [--staff]`` makes a user of the instance ``SHMCHAN_NAME``; the password is asked for.

Owns what a person types.
"""

import click

from . import users


@click.command()
@click.argument("name")
@click.option("--staff", is_flag=True, help="They may enter the rooms that are for staff only.")
@click.password_option()
def add(name: str, staff: bool, password: str) -> None:
    """Make a user of the multichat."""
    users.prepare()
    try:
        users.add(name, password, staff)
    except (ValueError, users.NameTaken) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name.strip()} may log in; the users are in {users.state_folder()}")


if __name__ == "__main__":
    add(prog_name="python -m examples.multichat")
