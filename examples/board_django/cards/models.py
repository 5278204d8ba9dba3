"""The cards, as in ``examples/board/models.py``."""

from typing import Any

from django.db import models


class Card(models.Model):  # type: ignore[misc]  # Django has no types
    """One card. ``place`` orders those of a column, ``version`` counts the changes."""

    class Column(models.TextChoices):  # type: ignore[misc]
        """Where a card is."""

        TODO = "todo", "To do"
        DOING = "doing", "Doing"
        DONE = "done", "Done"

    class Colour(models.TextChoices):  # type: ignore[misc]
        """How it looks."""

        SAND = "sand"
        ROSE = "rose"
        MINT = "mint"
        SKY = "sky"

    title = models.CharField(max_length=120)
    note = models.TextField(max_length=2000, blank=True, default="")
    column = models.CharField(max_length=5, choices=Column.choices, default=Column.TODO, db_column="list")
    colour = models.CharField(max_length=4, choices=Colour.choices, default=Colour.SAND)
    place = models.FloatField(default=0.0)
    admin_only = models.BooleanField(default=False)
    author = models.CharField(max_length=150, blank=True, default="")
    changed = models.DateTimeField(auto_now=True)
    version = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ("column", "place", "pk")

    def __str__(self) -> str:
        return str(self.title)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Count the change."""
        self.version += 1
        super().save(*args, **kwargs)
