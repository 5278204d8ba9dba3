"""
A board of cards that several browsers share: ``shmchan run examples.board``, then open http://127.0.0.1:8000/ in two windows.

Needs ``pip install shmchan[sqlalchemy]``. `models` has the cards in SQLite, `bindings` says who sees them and who may change
them, `routing` puts both on one WebSocket, `pages` serves ``page/``. Whatever commits a change, a browser, a cron job or a shell,
every browser that may see it shows it::

    python -c "from shmchan.examples.board import models; models.add('Written by a script')"
"""

from .routing import routing

__all__ = ["routing"]
