"""
Who sees which card, and who may change it.

Owns both rules. The workers run it, and any other process that changes cards.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shmchan.binding import CREATE, Refused
from shmchan.binding.websockets import WebsocketBinding

from .models import Card, Person, is_visible

ADMINS, OTHERS = "board.admins", "board.others"


def group_of(person: Person) -> str:
    """Everybody is in one of the two."""
    return ADMINS if person.is_admin else OTHERS


class CardBinding(WebsocketBinding):
    """Cards as browsers see them: those that are for admins only are in one group, all others in both."""

    model = Card
    stream = "cards"
    fields = "__all__"

    def group_names(self, instance: Card) -> list[str]:
        return [ADMINS] if instance.admin_only else [ADMINS, OTHERS]

    def has_permission(self, user: Any, action: str, pk: int | None) -> bool:
        """Whoever sees a card may change it. Of one that is hidden, not even that it is there may be known."""
        if not isinstance(user, Person):
            return False
        return action == CREATE or (pk is not None and is_visible(user, pk))

    def writable_names(self) -> list[str]:
        names = ["title", "note", "column", "colour", "place"]
        return [*names, "admin_only"] if self.user.is_admin else names

    def create(self, data: Mapping[str, Any]) -> None:
        super().create({**_tidy(data), "author": self.user.name})

    def update(self, pk: int, data: Mapping[str, Any]) -> None:
        super().update(pk, {**_tidy(data), "changed": datetime.now(UTC).replace(tzinfo=None)})


def _tidy(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without white space around texts. Raises Refused for a title that is empty then."""
    tidy = {name: value.strip() if isinstance(value, str) else value for name, value in data.items()}
    if not tidy.get("title", True):
        raise Refused("the values are not accepted", {"title": "is never empty"})
    return tidy
