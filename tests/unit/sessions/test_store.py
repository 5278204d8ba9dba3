"""Browsers' sessions: engines, keys, fixation, tampering, expiry."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmchan.auth import login, logout
from shmchan.sessions import SessionStore, use_sessions
from shmchan.sessions.signed import SignedEngine
from shmchan.sessions.sqlite import SqliteEngine
from shmchan.sessions.store import SessionGone, default_path, settings

SECRET = "a secret that is long enough"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the wall clock on."""
    import time

    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    def forward(seconds: float) -> None:
        ahead[0] += seconds

    return forward


def test_a_session_is_found_again_by_its_key() -> None:
    session = SessionStore.create()
    session.update(user=1, data={"bytes": b"x"})
    session.save()
    again = SessionStore(session.session_key)
    assert again == {"user": 1, "data": {"bytes": b"x"}}
    assert not again.modified
    again["data"]["bytes"] = b"y"
    assert again.modified
    again.save()
    assert session.load() == again
    session.delete()
    assert SessionStore(again.session_key).session_key is None


def test_keys_cannot_be_guessed_and_are_not_in_the_file(tmp_path: Path) -> None:
    keys = {SessionStore.create().session_key or "" for _ in range(20)}
    assert len(keys) == 20
    assert all(len(key) >= 43 for key in keys)  # 256 bits
    engine = settings.engine
    assert isinstance(engine, SqliteEngine)
    assert stat.S_IMODE(engine.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(engine.path.parent.stat().st_mode) == 0o700
    engine.close()
    assert not any(key.encode() in engine.path.read_bytes() for key in keys)


@pytest.mark.parametrize("planted", ["chosen-by-somebody-else", "", "\udcff", "x" * 10_000])
def test_a_key_that_nobody_made_is_not_taken_over(planted: str) -> None:
    session = SessionStore(planted)
    assert session.session_key is None
    session["a"] = 1
    session.save()
    assert session.session_key not in (None, planted)
    assert SessionStore(planted) == {}


def test_a_login_changes_the_key_so_that_a_planted_one_leads_nowhere() -> None:
    planted = SessionStore.create()
    victim = SessionStore(planted.session_key)
    victim["basket"] = ["book"]
    login(victim, 7)
    assert victim.session_key != planted.session_key
    assert SessionStore(planted.session_key) == {}
    assert SessionStore(victim.session_key)["basket"] == ["book"]
    key = victim.session_key
    login(victim, 8)
    assert "basket" not in victim
    assert SessionStore(key) == {}
    key = victim.session_key
    logout(victim)
    assert SessionStore(key) == {}


def test_a_session_that_was_deleted_meanwhile_does_not_come_back() -> None:
    session = SessionStore.create()
    SessionStore(session.session_key).delete()
    session["a"] = 1
    with pytest.raises(SessionGone):
        session.save()
    assert SessionStore(session.session_key) == {}


def test_an_old_session_is_gone_and_cleared_away(clock: Callable[[float], None], tmp_path: Path) -> None:
    session = SessionStore.create()
    clock(999)
    session["a"] = 1
    session.save()
    clock(999)
    assert SessionStore(session.session_key) == {"a": 1}
    clock(2)
    assert SessionStore(session.session_key) == {}
    with pytest.raises(SessionGone):
        session.save()
    SessionStore.create()
    engine = settings.engine
    assert isinstance(engine, SqliteEngine)
    assert engine._open().execute("select count(*) from session").fetchone() == (1,)


def test_threads_and_forked_processes_share_the_file() -> None:
    session = SessionStore.create()
    done: list[Any] = []

    def work(n: int) -> None:
        mine = SessionStore.create()
        mine["n"] = n
        mine.save()
        done.append(SessionStore(mine.session_key)["n"])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]
    child = os.fork()
    if child == 0:
        try:
            session["child"] = True
            session.save()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert SessionStore(session.session_key) == {"child": True}


def test_whoever_opens_a_new_file_waits_for_others_who_do(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")  # not in WAL yet: who asks for it now is told "locked" at once, whatever the timeout
    timer = threading.Timer(0.1, other.execute, ["commit"])
    timer.start()
    SqliteEngine(path, 1000).save(None, {})
    timer.join()
    other.close()


def signed(max_age: float = 1000, secret: str = SECRET) -> SignedEngine:
    return SignedEngine(secret, max_age)


def test_a_signed_session_is_its_own_key() -> None:
    session = SessionStore.create(signed())
    session["a"] = [1, None]
    session.save()
    assert SessionStore(session.session_key, signed()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="a cookie holds"):
        signed().save(None, {"a": os.urandom(4000).hex()})


def test_tampering_with_a_signed_session_makes_it_nobodys() -> None:
    key = signed().save(None, {"user": 1})
    forged = signed(secret="another secret, as long").save(None, {"user": 1})
    for bad in (key[:-1], key[1:], key.swapcase(), key + "x", forged, "", ".", "a.b.c", "é"):
        session = SessionStore(bad, signed())
        assert (session, session.session_key) == ({}, None), bad
    assert SessionStore(signed()._serializer.dumps([1]), signed()) == {}


def test_an_old_signed_session_is_nobodys(clock: Callable[[float], None]) -> None:
    key = signed().save(None, {"user": 1})
    clock(500)
    assert SessionStore(key, signed()) == {"user": 1}
    clock(502)
    assert SessionStore(key, signed()) == {}


def test_how_sessions_are_kept_is_a_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = settings.engine
    try:
        with pytest.raises(ValueError, match="SHMCHAN_SECRET"):
            use_sessions("signed_cookies", secret="short")
        with pytest.raises(ValueError, match="sqlite"):
            use_sessions("files")
        monkeypatch.setenv("SHMCHAN_SECRET", SECRET)
        use_sessions("signed_cookies", cookie_name="s")
        assert isinstance(settings.engine, SignedEngine)
        assert settings.cookie_name == "s"
        own = signed()
        use_sessions(own)
        assert SessionStore.create().engine is own
    finally:
        settings.engine = before
    monkeypatch.setenv("SHMCHAN_NAME", "shop")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "shmchan/shop/sessions.db"
