"""Rows of every kind: a key that is no number, relations, a model that inherits from another, fields of most types."""

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class Team(models.Model):  # type: ignore[misc]  # Django has no types
    name = models.CharField(max_length=20, unique=True)


class Tag(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=20)


class Item(models.Model):  # type: ignore[misc]
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=10)
    hidden = models.BooleanField(default=False)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="items")
    tags: Any = models.ManyToManyField(Tag, blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    due = models.DateTimeField(null=True, blank=True)
    kind = models.CharField(max_length=5, choices=[("small", "Small"), ("large", "Large")], default="small")
    notes = models.JSONField(default=dict, blank=True)
    picture = models.FileField(blank=True)

    def clean(self) -> None:
        if self.name == "wrong":
            raise ValidationError({"name": "is a name that nothing has"})
        if self.name == "bad":
            raise ValidationError("this is bad as a whole")

    @property
    def loud(self) -> str:
        return str(self.name).upper()


class Special(Item):
    extra = models.IntegerField(default=0)


class Locked(models.Model):  # type: ignore[misc]
    team = models.ForeignKey(Team, models.PROTECT)
