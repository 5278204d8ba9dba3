"""Who hears of what; imported by shmchan's app."""

from typing import Any

from shmchan.binding.websockets import WebsocketBinding

from .models import Item, Team


class ItemBinding(WebsocketBinding):
    model = Item
    stream = "items"
    fields = "__all__"

    def group_names(self, instance: Item) -> list[str]:
        if instance.name == "broken":
            raise RuntimeError("a binding that fails")
        return ["staff"] if instance.hidden else ["staff", "guests"]

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        return bool(self.message.get("path") != "/guest")


class TeamBinding(WebsocketBinding):
    model = "desk.Team"
    stream = "teams"
    fields = ("name", "items")

    def group_names(self, instance: Team) -> list[str]:
        return ["teams"]

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        return bool(user.has_perm("desk.change_team")) or user.is_anonymous
