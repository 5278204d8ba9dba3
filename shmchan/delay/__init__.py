"""
Messages that go out later: `send`, `cancel`, `pending`. docs/delay.md says what holds, whoever dies.

Re-exports, no more; what the delay process runs is loaded by that process.
"""

from shmchan.delay.api import Scheduled, cancel, pending, send

__all__ = ["Scheduled", "cancel", "pending", "send"]
