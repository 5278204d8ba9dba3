"""What fronts count, in a file beside the segment: who writes where, what lasts, what a reader makes of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shmchan.layers import ShmChannelLayer, instance
from shmchan.layers.tally import open_tally, read_tallies

NAME = "i"
COUNTERS = ("good", "bad", "ugly")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / NAME).mkdir()
    return tmp_path


def test_what_is_added_is_read_without_any_call(folder: Path) -> None:
    assert read_tallies(folder, NAME) == {}
    numbers = open_tally(folder, NAME, COUNTERS)
    assert read_tallies(folder, NAME) == {"good": 0, "bad": 0, "ugly": 0}
    numbers[1] += 3
    numbers[2] += 1 << 63
    assert read_tallies(folder, NAME) == {"good": 0, "bad": 3, "ugly": 1 << 63}


def test_the_next_front_goes_on_counting_where_a_killed_one_stopped(folder: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from shmchan.layers.tally import open_tally\n"
        f"open_tally(Path(sys.argv[1]), {NAME!r}, {COUNTERS!r})[0] += 5\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == -9
    numbers = open_tally(folder, NAME, COUNTERS)
    assert numbers.tolist() == [5, 0, 0]
    numbers[0] += 1
    assert read_tallies(folder, NAME)["good"] == 6
    assert [path.name for path in (folder / NAME).iterdir()] == ["front.1"]


def test_two_fronts_at_once_do_not_write_to_one_file_and_are_added_up(folder: Path) -> None:
    one, two = open_tally(folder, NAME, COUNTERS), open_tally(folder, NAME, COUNTERS)
    one[0] += 1
    two[0] += 10
    assert (one[0], two[0]) == (1, 10)
    assert read_tallies(folder, NAME)["good"] == 11


def test_who_has_other_counters_leaves_those_that_are_there(folder: Path) -> None:
    open_tally(folder, NAME, COUNTERS)[0] += 1
    open_tally(folder, NAME, ("good", "evil", "ugly"))[1] += 1
    assert read_tallies(folder, NAME) == {"good": 1, "bad": 0, "ugly": 0, "evil": 1}


def test_what_a_death_left_half_made_is_made_again_and_what_is_no_tally_counts_nothing(folder: Path) -> None:
    (folder / NAME / "front.1.new").write_bytes(b"half")
    (folder / NAME / "front.1").write_bytes(b"something else")
    (folder / NAME / "front.2.new").write_bytes(b"half")
    open_tally(folder, NAME, COUNTERS)[0] += 1
    assert read_tallies(folder, NAME) == {"good": 1, "bad": 0, "ugly": 0}


def test_a_layer_shows_what_its_port_counts_and_leaves_no_file() -> None:
    with ShmChannelLayer(f"test-tally-{os.getpid()}", memory=32 << 20) as layer:
        assert layer.front_statistics() == {}
        layer.open_port().counts(COUNTERS)[2] += 4
        with ShmChannelLayer.attach(layer.name) as other:
            assert other.front_statistics() == {"good": 0, "bad": 0, "ugly": 4}
    assert not (instance.base_folder() / layer.name).exists()
