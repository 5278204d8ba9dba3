"""Consumers as classes, one instance for each message."""

from shmchan.generic.base import BaseConsumer

__all__ = ["BaseConsumer"]
