"""`python -m tests.fuzz.campaign SECONDS`: every fuzz target, one after the other, SECONDS over all. A finding ends it."""

import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz import decoders, http, targets


def main(seconds: int) -> None:
    """Share the time out, run each, and print a line of what was run."""
    seed = random.randrange(1 << 32)
    folder = Path(tempfile.mkdtemp(prefix="shmchan-fuzz-"))
    print(f"seed {seed}, inputs and findings in {folder}", flush=True)
    print(f"differential: {decoders.differential(seconds * 0.15, seed)}", flush=True)
    print(f"messages:     {decoders.messages(seconds * 0.05, seed)}", flush=True)
    print(f"http:         {http.front(seconds * 0.2, seed)}", flush=True)
    if not targets.has_libfuzzer():
        sys.exit("clang or its libFuzzer is not here: run scripts/find-checkers as root, or install clang and libclang-rt-dev")
    for name, share in (("segment", 0.35), ("frames", 0.25)):
        print(f"{name + ':':13} {targets.run(targets.build(name, folder), folder, max(1, int(seconds * share)))}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
