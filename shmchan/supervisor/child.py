"""
One child process of the supervisor: how it is forked, what it may say, how it is watched and killed.

Owns the fork, the pipe on which a child reports that it is ready or why it cannot be, and the pidfd by which its death is
seen. Never decides whether a child is started again; that is the supervisor's. The part above the fork runs in the supervisor,
`_run` in the child, which takes nothing with it but what its role closes over: signal handlers, pipes and exit functions of
the supervisor are undone before the role's code runs.
"""

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from setproctitle import setproctitle

from shmchan.asgi import channel_layers
from shmchan.exceptions import ShmchanError

logger = logging.getLogger("shmchan.supervisor")

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
"""Source: prctl(2)."""

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
"""The same code that the command line uses for what a person has to mend: the application does not import."""

LONGEST_REPORT = 4000
"""Bytes; what a pipe takes in one piece (PIPE_BUF is 4096), so that no report is ever seen in halves."""

Ready = Callable[[], None]
"""Called once by a role, from its own process, when it can do its work."""


class Unusable(ShmchanError):
    """A role cannot start before a person mends something; its message is the one line to show."""


@dataclass(frozen=True)
class Role:
    """
    What one child is for.

    Attributes:
        name: for logs: "front", "worker 1".
        main: runs in the child; calls its argument when ready, returns its exit code (None: 0) when it was told to stop by
            SIGTERM. A `ShmchanError` or `ImportError` it raises is reported as one line.
        is_front: it is stopped before the workers, so that these still answer what it is waiting for.
        instance: the name of its instance, for `ps`.
    """

    name: str
    main: Callable[[Ready], int | None]
    is_front: bool = False
    instance: str = ""

    @property
    def title(self) -> str:
        """What `ps` and `top` show as its command line."""
        return f"shmchan: {self.name}" + (f" ({self.instance})" if self.instance else "")


class Child:
    """
    A running child.

    Args:
        role: what it does.
        now: seconds of the monotonic clock.
        close_in_child: descriptors of the supervisor that the child must not keep.
    """

    def __init__(self, role: Role, now: float, close_in_child: Iterable[int] = ()) -> None:
        self.role = role
        self.started = now
        self.ready = False
        self.error: str | None = None
        self.report_fd, write_fd = os.pipe()
        os.set_blocking(self.report_fd, False)
        inherited = [*close_in_child, self.report_fd]
        supervisor = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # No signal may reach the child while it still has the supervisor's handlers: they would write into its wake-up pipe.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _run(role, write_fd, supervisor, inherited)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(write_fd)
        self.fd = os.pidfd_open(self.pid)

    def read_report(self) -> bool:
        """Take what the child wrote; False when it will write no more."""
        try:
            data = os.read(self.report_fd, 65536)
        except BlockingIOError:
            return True
        for line in data.decode("utf-8", "replace").splitlines():
            kind, _, text = line.partition(" ")
            if kind == "ready":
                self.ready = True
            elif kind == "error":
                self.error = text
        return bool(data)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; a child that is gone already is fine."""
        with contextlib.suppress(ProcessLookupError):  # its death is waiting to be seen by the loop
            signal.pidfd_send_signal(self.fd, number)

    def wait(self) -> int:
        """Collect the dead child; returns its exit code, negative for a signal as in `subprocess`."""
        _, status = os.waitpid(self.pid, 0)
        self.read_report()
        os.close(self.fd)
        os.close(self.report_fd)
        return os.waitstatus_to_exitcode(status)

    def __str__(self) -> str:
        return f"{self.role.name} (pid {self.pid})"


def describe_exit(code: int) -> str:
    """``exited with code 3`` or ``was killed by SIGSEGV``."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _prctl(option: int, value: int | bytes) -> None:
    """Source: prctl(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _die_with(supervisor: int) -> None:
    """
    Have the kernel kill this process when the supervisor goes, however it goes.

    SIGKILL, since nobody would be left to enforce anything milder on a consumer that hangs; the next run puts a new
    segment in the place of ours. The check afterwards closes the race that prctl(2) describes under PR_SET_PDEATHSIG.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os.kill(os.getpid(), signal.SIGKILL)


def _report(fd: int, line: str) -> None:
    """Say something to the supervisor, in one piece; one that is gone does not matter any more."""
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, line.encode("utf-8", "backslashreplace")[:LONGEST_REPORT] + b"\n")


def _run(role: Role, report_fd: int, supervisor: int, inherited: Iterable[int]) -> NoReturn:
    """The whole life of the child. Leaves by `os._exit`: the supervisor's stack below must not unwind here."""
    code = EXIT_FAILED
    try:
        _die_with(supervisor)
        setproctitle(role.title)
        _prctl(PR_SET_NAME, f"shm {role.name}".encode())  # for `ps` and `top`, which show 15 characters
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Ctrl-C reaches a whole process group. The supervisor alone shall act on it, and stop us in the right order.
        os.setpgid(0, 0)
        for fd in inherited:
            os.close(fd)
        atexit._clear()
        gc.freeze()  # a collection writes to every object that it visits, and so would copy all that we share with the supervisor
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = role.main(lambda: _report(report_fd, "ready")) or 0
    except (ShmchanError, ImportError) as error:
        logger.debug("%s cannot start", role.name, exc_info=True)
        _report(report_fd, "error " + " ".join(str(error).split()))
        code = EXIT_UNUSABLE
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        logger.exception("%s failed", role.name)
    finally:
        try:
            atexit._run_exitfuncs()
            channel_layers.close_attached()  # which `atexit._clear` took away, too
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            logger.exception("%s: an exit function failed", role.name)
        finally:
            os._exit(code)
