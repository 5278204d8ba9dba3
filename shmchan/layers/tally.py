"""
The file in which a front counts, beside the segment: numbers by name that outlive whoever counts.

Owns the format, the files' names and who counts in which. It never decides what is counted, and adds nothing up but what several
files say. A front maps one, once, and then adds in its own memory, without any call; ``shmchan stats`` reads them.

Data goes one way: one front writes a file, everybody else reads it. The kernel keeps what a killed front had counted, and the
next one goes on counting in the same file, for as long as the instance lives; its folder, and so the file, goes with it.

    magic (8 bytes), n (u64), n numbers (u64, in the byte order of the machine), n names, each followed by a line feed
"""

import contextlib
import fcntl
import itertools
import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from shmchan.layers import instance

MAGIC = b"shmcnt01"
_HEAD = struct.Struct("=8sQ")


def open_tally(folder: Path, name: str, counters: Sequence[str]) -> memoryview:
    """
    The numbers of a front, for it alone; what an earlier front counted under the same names is in them.

    Args:
        folder: `instance.base_folder`.
        name: the instance.
        counters: what is counted; no name has a line feed in it.

    Returns:
        One u64 for each counter, in this order, writable, mapped for as long as it is kept.

    Raises:
        OSError: the file cannot be made in the instance's folder.
    """
    names = "".join(f"{counter}\n" for counter in counters).encode()
    fresh = _HEAD.pack(MAGIC, len(counters)) + bytes(8 * len(counters)) + names
    with instance.changing(folder, name):
        for number in itertools.count(1):
            path = folder / name / f"front.{number}"
            if not path.exists():
                made = path.with_suffix(".new")
                made.touch(mode=0o600)
                made.write_bytes(fresh)  # its memory is taken here: a full /dev/shm is an error now, not SIGBUS later
                made.rename(path)
            numbers = _mapped(path, len(fresh), names)
            if numbers is not None:
                return numbers[: len(counters)]
    raise AssertionError("count() has no end")


def _mapped(path: Path, size: int, names: bytes) -> memoryview | None:
    """What follows the head of a file, as u64, unless a living front counts there or it has other names."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the mapping keeps it, and the kernel lets go of it with the process
        if os.fstat(fd).st_size != size or os.pread(fd, len(names), size - len(names)) != names:
            return None
        return memoryview(mmap.mmap(fd, size))[_HEAD.size : size - len(names)].cast("Q")
    except BlockingIOError:
        return None
    finally:
        os.close(fd)


def read_tallies(folder: Path, name: str) -> dict[str, int]:
    """
    What all fronts of an instance have counted since it began, by name, in their order; empty if it has had no front.

    Raises:
        OSError: a file is there but cannot be read.
    """
    total: dict[str, int] = {}
    for path in sorted((folder / name).glob("front.*[0-9]")):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # the instance may end while we look
            for counter, count in _read(file.fileno()):
                total[counter] = total.get(counter, 0) + count
    return total


def _read(fd: int) -> list[tuple[str, int]]:
    """One file's counters; nothing of a file of another kind."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        magic, count = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0)
        end = _HEAD.size + 8 * count
        if magic != MAGIC or end > len(data):
            return []
        names = bytes(data[end:]).decode("utf-8", "replace").splitlines()
        with data[_HEAD.size : end] as part, part.cast("Q") as numbers:  # by u64, so that none is seen in halves
            return list(zip(names, numbers.tolist(), strict=False))
