"""Which file a path names: whatever a client writes, it is a file of the folder or none."""

import os
import random
from pathlib import Path

from shmchan.front.static import Folder, NotServed, StaticFiles

PIECES = [
    "..",
    ".",
    "",
    "/",
    "//",
    "a",
    "b",
    "sub",
    "a.txt",
    "secret",
    "out",
    "in",
    "\0",
    "\\",
    "%2e",
    " ",
    "ü",
    "\ufffd",
    "x" * 300,
]


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    public = tmp_path / "public"
    (public / "sub" / "a").mkdir(parents=True)
    for path in (public / "a.txt", public / "sub" / "a.txt", public / "sub" / "a" / "index.html", public / "sub" / "b"):
        path.write_text("public")
    (tmp_path / "secret").write_text("secret")
    (public / "out").symlink_to(tmp_path)
    (public / "in").symlink_to("sub")
    (public / "sub" / "secret").symlink_to("../../secret")
    draw = random.Random(5)
    good = ["/a.txt", "/sub/a.txt", "/in/a.txt", "/sub/b", "/sub/a/"]
    names = good + ["/" + "/".join(draw.choice(PIECES) for _ in range(draw.randrange(5))) for _ in range(20_000)]
    folder = Folder("/", str(public))
    before = len(os.listdir("/proc/self/fd"))
    opened, refusals = set(), []
    for name in names:
        try:
            file = folder.open(name, frozenset((b"gzip", b"br")))
        except NotServed as reason:
            refusals.append(reason)
            continue
        try:
            assert os.pread(file.fd, 10, 0) == b"public"
        finally:
            file.close()
        opened.add(name)
    assert opened >= set(good)
    assert {reason.status for reason in refusals} == {301, 404}
    places = {reason.location for reason in refusals if reason.location is not None}
    assert all(place.startswith(b"/") and not place.startswith(b"//") for place in places)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_path_is_whose_url_is_the_longest() -> None:
    files = StaticFiles("/app", [("/a", "1"), ("/a/b", "2")], [("/a/b/c.js", "3")])
    for path, where in (
        ("/app/a", "1"),
        ("/app/a/x", "1"),
        ("/app/a/bc", "1"),
        ("/app/a/b", "2"),
        ("/app/a/b/x", "2"),
        ("/app/a/b/c.js", "3"),
        ("/app/a/b/c.js/", "2"),
        ("/app/ab", None),
        ("/app", None),
        ("/a", None),
        ("*", None),
    ):
        found = files.find(path)
        assert (None if found is None else found.path) == where, path
