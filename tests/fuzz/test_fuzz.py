"""A short round of every fuzz target, its corpus first: what was found once is tried each time. `make fuzz` goes on."""

import os
import random
from pathlib import Path

import pytest

from tests.fuzz import decoders, http, targets
from tests.tools import need, required

RUNS = {"segment": 20_000, "frames": 500_000}
SEED = int(os.environ.get("SHMCHAN_FUZZ_SEED", "0")) or random.randrange(1 << 32)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", targets.SOURCES)
def test_no_input_crashes_or_hangs(name: str, tmp_path: Path) -> None:
    need("clang")
    if not targets.has_libfuzzer() and not required():
        pytest.skip("clang has no libFuzzer here: sudo apt-get install libclang-rt-dev, with clang's version in its name")
    print(targets.run(targets.build(name, tmp_path), tmp_path, 60, RUNS[name], seed=1))  # the same inputs each time


def test_codec_and_reference_agree() -> None:
    print(decoders.differential(3, SEED))


def test_a_damaged_message_is_refused_or_read() -> None:
    print(decoders.messages(1, SEED))


def test_whatever_a_client_says_the_front_answers_in_http_or_closes() -> None:
    print(http.front(3, SEED))
