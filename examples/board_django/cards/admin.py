"""The cards in Django's admin; what is changed there is seen on every board."""

from typing import Any

from django.contrib import admin

from .models import Card


@admin.register(Card)
class CardAdmin(admin.ModelAdmin):  # type: ignore[misc]  # Django has no types
    """One line a card, of which the column and who sees it can be changed at once."""

    list_display = ("title", "column", "admin_only", "author", "changed")
    list_editable = ("column", "admin_only")
    list_filter = ("column", "admin_only")
    actions = ("hide",)

    @admin.action(description="Show the selected cards to admins only")  # type: ignore[untyped-decorator]
    def hide(self, request: Any, queryset: Any) -> None:
        """One by one: update() sends no signals, and what nobody hears of no board shows."""
        for card in queryset:
            card.admin_only = True
            card.save()
