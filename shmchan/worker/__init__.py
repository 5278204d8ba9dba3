"""
The worker: takes messages, runs consumers, commits what they sent.
"""

from shmchan.worker.loading import load_app
from shmchan.worker.runner import run_worker

__all__ = ["load_app", "run_worker"]
