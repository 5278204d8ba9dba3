"""
Where segments live: their folders and names, and who makes and removes them.

Owns ``/dev/shm/shmchan-<uid>/``: one folder for each instance, ``NAME.lock`` beside it while somebody comes or goes. It never
looks into a segment. Every process that creates, attaches or leaves runs it, a moment each.

Making, attaching and leaving happen under ``NAME.lock``, an open-file-description lock: the kernel lets go of it with the
process, so a death in the middle leaves at worst a folder with a name of its own kind, which the next one removes.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

SEGMENT = "segment"
_FLOCK = struct.Struct("hhqqi4x")


def base_folder() -> Path:
    """
    The folder of this user's instances, made if need be, readable by nobody else.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    candidates = [Path("/dev/shm")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        candidates.append(Path(runtime))
    parent = next((path for path in candidates if path.is_dir() and os.access(path, os.W_OK)), candidates[0])
    folder = parent / f"shmchan-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone; remove it, or have its owner do so")
    return folder


def segment_path(folder: Path, name: str) -> Path:
    """The file of this instance's segment."""
    return folder / name / SEGMENT


def is_left_over(name: str) -> bool:
    """Whether there is a segment of this name; who made it may be dead."""
    return segment_path(base_folder(), name).exists()


@contextlib.contextmanager
def changing(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock under which this name is made, attached to and left."""
    path = folder / f"{name}.lock"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            if _is_at(fd, path):
                break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the last one who left removed the file while this process waited for it
    try:
        _clear_rests(folder, name)
        try:
            yield
        finally:
            if not (folder / name).exists():
                path.unlink()
    finally:
        os.close(fd)


def new_folder(folder: Path, name: str) -> Path:
    """An empty folder beside the instance's, for a segment that is not ready yet."""
    path = folder / f".{name}.{secrets.token_hex(6)}"
    path.mkdir(mode=0o700)
    return path


def publish(folder: Path, name: str, made: Path) -> None:
    """Give a segment that is ready its name, in place of what had it before."""
    remove(folder, name)
    made.rename(folder / name)


def remove(folder: Path, name: str) -> None:
    """Take an instance's name away, then its files. Who still has it mapped keeps its memory until the end."""
    path = folder / name
    if path.exists():
        gone = folder / f".{name}.{secrets.token_hex(6)}"
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _clear_rests(folder: Path, name: str) -> None:
    """What a process left that died while it made or removed this name: nobody else makes such folders while we hold the lock."""
    for path in folder.glob(f".{name}.*"):
        if len(path.name) == len(name) + 14:
            shutil.rmtree(path, ignore_errors=True)


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
