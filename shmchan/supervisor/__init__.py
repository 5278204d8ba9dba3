"""The process that starts, watches, replaces and stops all others of a run."""

from shmchan.supervisor.child import Ready, Role, Unusable
from shmchan.supervisor.listeners import CannotListen, Listeners
from shmchan.supervisor.supervisor import StartFailed, Supervisor

__all__ = ["CannotListen", "Listeners", "Ready", "Role", "StartFailed", "Supervisor", "Unusable"]
