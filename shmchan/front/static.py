"""
Static files: which URL belongs to which folder, and which file of it a path names.

Owns the rules of what is served: nothing above or beside the folder, whatever the path or a symbolic link says; no file whose
name begins with a dot, but for ``.well-known``; no listing of folders. Hands out open files and never writes to a socket. Runs in
the front.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import PurePosixPath
from urllib.parse import quote

from shmchan.exceptions import ShmchanError
from shmchan.protocol.conditions import Validators

# What a system's own tables say differs from machine to machine, so they are not asked.
_TYPES = MimeTypes(filenames=())
for _type, _suffixes in {
    "text/javascript": ".js .mjs",
    "text/markdown": ".md",
    "application/json": ".json .map",
    "application/manifest+json": ".webmanifest",
    "application/wasm": ".wasm",
    "application/yaml": ".yaml .yml",
    "font/otf": ".otf",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
    "image/x-icon": ".ico",
    "audio/ogg": ".ogg .oga .opus",
    "audio/flac": ".flac",
    "video/webm": ".webm",
}.items():
    for _suffix in _suffixes.split():
        _TYPES.add_type(_type, _suffix)
_COMPRESSED = {"gzip": b"application/gzip", "bzip2": b"application/x-bzip2", "xz": b"application/x-xz"}

# Content codings, the best first, and how the file beside a file is called.
_CODINGS = ((b"br", ".br"), (b"gzip", ".gz"))

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO is opened at once, then found to be no file
_INDEX = "index.html"

# A file that was changed this short while ago may change again within one tick of the file system's clock.
_SETTLED = 2.0


class NotServed(ShmchanError):
    """
    The path names nothing that is served.

    Attributes:
        status: of the answer.
        location: where the client should look, for a 301.
    """

    def __init__(self, status: int, reason: str = "", location: bytes | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.location = location


@dataclass(slots=True)
class OpenFile:
    """
    A file that is open for reading; whoever has it closes ``fd``.

    Attributes:
        kind: content type.
        coding: content coding of what is in it, or None.
        varies: whether another client may get another coding.
    """

    fd: int
    size: int
    modified_ns: int
    kind: bytes
    coding: bytes | None = None
    varies: bool = False

    def validators(self) -> Validators:
        """Its tag, which is a weak one while the file may still be written to, and the time of its last change."""
        now = time.time()
        age = now - self.modified_ns / 1e9
        coding = b"" if self.coding is None else b"-" + self.coding
        tag = b'"%x-%x%s"' % (self.modified_ns, self.size, coding)
        return Validators(tag if age > _SETTLED else b"W/" + tag, min(self.modified_ns // 10**9, int(now)))

    def spoilt(self) -> bool:
        """Whether it is not what was opened any more: shorter, or written anew. What grows is as good as before."""
        now = os.fstat(self.fd)
        return now.st_size < self.size or (now.st_size == self.size and now.st_mtime_ns != self.modified_ns)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class Folder:
    """
    A folder under a URL.

    Args:
        url: ``/static``, or ``/`` for every path.
        path: of the folder. It is looked up at every request, so that it may be a symbolic link which is changed.
    """

    def __init__(self, url: str, path: str) -> None:
        self.url = url.rstrip("/")
        self.path = path

    def covers(self, path: str) -> bool:
        """Whether a path, decoded, lies below the URL."""
        return path == self.url or path.startswith(self.url + "/")

    def open(self, path: str, codings: frozenset[bytes]) -> OpenFile:
        """
        Open what a path names.

        Args:
            path: one that `covers` is true for.
            codings: which the client accepts.

        Raises:
            NotServed: there is no such file here: 301, 403, 404 or 503.
        """
        names = path[len(self.url) + 1 :].split("/")
        wants_folder = path == self.url or names[-1] == ""
        if names[-1] == "":
            names[-1] = _INDEX
        if path == self.url or not all(_may_be_served(name, number) for number, name in enumerate(names)):
            if path == self.url and path:
                raise NotServed(301, location=_encoded(path + "/"))
            raise NotServed(404)
        name = "/".join(names)
        try:
            folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _refusal(error, self.path) from error
        try:
            file = self._open_in(folder, name, wants_folder, path)
            self._look_for_codings(folder, name, file, codings)
        finally:
            os.close(folder)
        return self._chosen(file)

    def _open_in(self, folder: int, name: str, wants_folder: bool, path: str) -> list[OpenFile]:
        try:
            fd = os.open(name.encode(), _READ, dir_fd=folder)
        except OSError as error:
            raise _refusal(error, name) from error
        try:
            found = os.fstat(fd)
            if not _is_within(fd, folder):
                raise NotServed(404, f"{name} is a link that leads out of {self.path}; copy what it points to into the folder")
            if stat.S_ISDIR(found.st_mode) and not wants_folder:
                raise NotServed(301, location=_encoded(path + "/"))
            if not stat.S_ISREG(found.st_mode):
                raise NotServed(404)
        except BaseException:
            os.close(fd)
            raise
        return [OpenFile(fd, found.st_size, found.st_mtime_ns, content_type(name))]

    def _look_for_codings(self, folder: int, name: str, files: list[OpenFile], codings: frozenset[bytes]) -> None:
        """Add the compressed ones that lie beside the file and are not older than it, where the client takes them."""
        plain = files[0]
        for coding, suffix in _CODINGS:
            try:
                (other,) = self._open_in(folder, name + suffix, True, "")
            except NotServed:
                continue
            if other.modified_ns // 10**9 < plain.modified_ns // 10**9:
                other.close()
                continue
            plain.varies = True
            if coding in codings:
                other.kind, other.coding = plain.kind, coding
                files.append(other)
            else:
                other.close()

    @staticmethod
    def _chosen(files: list[OpenFile]) -> OpenFile:
        """The first compressed one, else the plain one; the rest is closed."""
        chosen = files[1] if len(files) > 1 else files[0]
        chosen.varies = files[0].varies
        for file in files:
            if file is not chosen:
                file.close()
        return chosen


class SingleFile:
    """
    One file under a URL of its own.

    Args:
        url: the whole path.
        path: of the file.
    """

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self.path = path

    def covers(self, path: str) -> bool:
        """Whether it is this path."""
        return path == self.url

    def open(self, _path: str, _codings: frozenset[bytes]) -> OpenFile:
        """Open it. Raises NotServed: 403, 404 or 503."""
        try:
            fd = os.open(self.path, _READ)
        except OSError as error:
            raise _refusal(error, self.path) from error
        found = os.fstat(fd)
        return OpenFile(fd, found.st_size, found.st_mtime_ns, content_type(self.path))


class StaticFiles:
    """
    What a front serves by itself.

    Args:
        root_path: where the application is mounted; it stands before every URL.
        folders: URL and path of each folder.
        files: URL and path of each single file.
    """

    def __init__(self, root_path: str, folders: Iterable[tuple[str, str]], files: Iterable[tuple[str, str]]) -> None:
        mounted = [Folder(root_path + url, path) for url, path in folders]
        mounted.sort(key=lambda folder: len(folder.url), reverse=True)
        self._places: Sequence[Folder | SingleFile] = [*(SingleFile(root_path + url, path) for url, path in files), *mounted]

    def find(self, path: str) -> Folder | SingleFile | None:
        """Whose path this is: a single file's, else that of the folder with the longest URL; None for the application's."""
        for place in self._places:
            if place.covers(path):
                return place
        return None


def content_type(name: str) -> bytes:
    """What a file is, by its name; text is UTF-8."""
    kind, coding = _TYPES.guess_type("./" + PurePosixPath(name).name)  # as a path: data:,x is a name here
    if coding is not None:
        return _COMPRESSED.get(coding, b"application/octet-stream")
    if kind is None:
        return b"application/octet-stream"
    return (kind + "; charset=utf-8" if kind.startswith("text/") else kind).encode()


def _may_be_served(name: str, depth: int) -> bool:
    if name.startswith("."):
        return name == ".well-known" and depth == 0
    return bool(name) and "\0" not in name


def _is_within(fd: int, folder: int) -> bool:
    """Whether what was really opened lies below the folder, after every link was followed."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith(os.readlink(f"/proc/self/fd/{folder}").rstrip("/") + "/")
    return False


def _encoded(path: str) -> bytes:
    return quote(path, safe="/!$&'()*+,;=:@~").encode()


def _refusal(error: OSError, what: str) -> NotServed:
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
        return NotServed(503, f"{what} cannot be opened: {error.strerror}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotServed(403, f"{what} cannot be opened: {error.strerror}; let the user of the front read it")
    return NotServed(404)
