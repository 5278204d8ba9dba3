"""The table of the cards."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no types
    initial = True

    dependencies: ClassVar[list[Any]] = []

    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Card",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=120)),
                ("note", models.TextField(blank=True, default="", max_length=2000)),
                (
                    "column",
                    models.CharField(
                        choices=[("todo", "To do"), ("doing", "Doing"), ("done", "Done")],
                        db_column="list",
                        default="todo",
                        max_length=5,
                    ),
                ),
                (
                    "colour",
                    models.CharField(
                        choices=[("sand", "Sand"), ("rose", "Rose"), ("mint", "Mint"), ("sky", "Sky")],
                        default="sand",
                        max_length=4,
                    ),
                ),
                ("place", models.FloatField(default=0.0)),
                ("admin_only", models.BooleanField(default=False)),
                ("author", models.CharField(blank=True, default="", max_length=150)),
                ("changed", models.DateTimeField(auto_now=True)),
                ("version", models.PositiveIntegerField(default=0, editable=False)),
            ],
            options={
                "ordering": ("column", "place", "pk"),
            },
        ),
    ]
