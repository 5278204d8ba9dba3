"""Who sees which card, and who may change it. Each process of the project imports this, so that the admin is heard, too."""

from collections.abc import Mapping
from typing import Any

from shmchan.binding import CREATE
from shmchan.binding.websockets import WebsocketBinding

from .models import Card

ADMINS, OTHERS = "cards.admins", "cards.others"


def group_of(user: Any) -> str:
    """Everybody is in one of the two."""
    return ADMINS if user.is_staff else OTHERS


class CardBinding(WebsocketBinding):
    """Cards as browsers see them: those that are for admins only are in one group, all others in both."""

    model = Card
    stream = "cards"
    fields = "__all__"

    def group_names(self, instance: Card) -> list[str]:
        return [ADMINS] if instance.admin_only else [ADMINS, OTHERS]

    def has_permission(self, user: Any, action: str, pk: int | None) -> bool:
        """Whoever sees a card may change it. Of one that is hidden, not even that it is there may be known."""
        if not user.is_authenticated:
            return False
        return action == CREATE or user.is_staff or Card.objects.filter(pk=pk, admin_only=False).exists()

    def writable_names(self) -> list[str]:
        names = ["title", "note", "column", "colour", "place"]
        return [*names, "admin_only"] if self.user.is_staff else names

    def create(self, data: Mapping[str, Any]) -> None:
        super().create({**data, "author": self.user.get_username()})
