"""
What bindings ask of Django's models; see `shmchan.binding.backends.Backend`.

Owns fields, keys and values, and the changes that clients make. Hearing of changes is `shmchan.contrib.django.signals`. Workers
run it, and every process whose changes are sent.
"""

import datetime
import decimal
import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist, ValidationError
from django.db import DataError, IntegrityError, models, router, transaction
from django.utils import timezone

from shmchan.binding.backends import Model
from shmchan.binding.base import Binding
from shmchan.binding.refusal import Refused
from shmchan.binding.values import BadValue, from_json, jsonable

GONE = "there is no such row (any more)"
NOT_ACCEPTED = "the values are not accepted"
KINDS: tuple[tuple[Any, type], ...] = (
    (models.BooleanField, bool),
    ((models.IntegerField, models.AutoField), int),
    (models.FloatField, float),
    ((models.CharField, models.TextField, models.GenericIPAddressField), str),
    (models.DecimalField, decimal.Decimal),
    (models.DateTimeField, datetime.datetime),
    (models.DateField, datetime.date),
    (models.TimeField, datetime.time),
    (models.DurationField, datetime.timedelta),
    (models.UUIDField, uuid.UUID),
    (models.BinaryField, bytes),
)
"""Types of fields and of their values. DateTimeField comes before DateField, whose subclass it is."""

log = logging.getLogger("shmchan.worker")


class DjangoBackend:
    """The `Backend` of Django's models; it has no state."""

    def label(self, model: Model) -> str:
        label: str = model._meta.label_lower
        return label

    def field_names(self, model: Model) -> Sequence[str]:
        return tuple(field.name for field in model._meta.concrete_fields if not field.primary_key)

    def check_fields(self, model: Model, names: Collection[str]) -> None:
        for path in names:
            owner: Any = model
            *above, last = path.split(".")
            for name in above:
                owner = getattr(_field(owner, name), "related_model", None)
                if owner is None:
                    raise ValueError(f"{model.__name__} has no field {path!r}: {name!r} refers to no other model")
            if _field(owner, last) is None and not hasattr(owner, last):
                known = ", ".join(field.name for field in owner._meta.get_fields())
                raise ValueError(f"{model.__name__} has no field {path!r}: {owner.__name__} has {known}")

    def pk(self, instance: Any) -> Any:
        return jsonable(instance.pk, "pk")

    def data(self, instance: Any, names: Sequence[str]) -> dict[str, Any]:
        return {path: _value(instance, path) for path in names}

    def key(self, model: Model, pk: object) -> Any:
        if pk is None:
            raise Refused("pk is the key of a row")
        try:
            return _converted(pk, model._meta.pk)
        except BadValue as error:
            raise Refused(f"pk {error}") from None

    def clean(self, model: Model, data: Mapping[str, object], names: Collection[str], whole: bool) -> dict[str, Any]:
        fields = {
            field.name: field for field in model._meta.concrete_fields if field.name in names and (whole or not field.primary_key)
        }
        errors, values = {}, {}
        for name, given in data.items():
            field = fields.get(name)
            if field is None:
                errors[name] = "is no field that can be set"
                continue
            if given is None and not field.null:
                errors[name] = "is never empty"
                continue
            try:
                value = None if given is None else _converted(given, field)
                values[name] = field.clean(value, None)
            except BadValue as error:
                errors[name] = str(error)
            except ValidationError as error:
                errors[name] = " ".join(error.messages)
        if whole:
            errors |= {name: "is required" for name, field in fields.items() if name not in data and _is_required(field)}
        if errors:
            raise Refused(NOT_ACCEPTED, errors)
        return values

    def create(self, binding: Binding, data: Mapping[str, Any]) -> None:
        model = binding.resolved_model()
        with _changes(model) as database:
            self._save(model(), data, database)

    def update(self, binding: Binding, pk: Any, data: Mapping[str, Any]) -> None:
        with _changes(binding.resolved_model()) as database:
            self._save(binding.resolved_model()._default_manager.using(database).get(pk=pk), data, database)

    def delete(self, binding: Binding, pk: Any) -> None:
        with _changes(binding.resolved_model()) as database:
            binding.resolved_model()._default_manager.using(database).get(pk=pk).delete(using=database)

    def _save(self, instance: Any, data: Mapping[str, Any], database: str) -> None:
        for name, value in data.items():
            field = _field(type(instance), name)
            setattr(instance, name if field is None or not hasattr(field, "attname") else field.attname, value)
        instance.full_clean()
        instance.save(using=database)


@contextmanager
def _changes(model: Model) -> Iterator[str]:
    """
    A transaction on the database that a model is written to.

    Raises:
        Refused: what was done in it is not possible; the log says why, where that may not be the client's to know.
    """
    database: str = router.db_for_write(model)
    try:
        with transaction.atomic(using=database):
            yield database
    except ObjectDoesNotExist:
        raise Refused(GONE) from None
    except ValidationError as error:
        found = error.message_dict if hasattr(error, "error_dict") else {"__all__": error.messages}
        general = " ".join(found.pop("__all__", []))
        raise Refused(general or NOT_ACCEPTED, {name: " ".join(texts) for name, texts in found.items()}) from None
    except (IntegrityError, DataError) as error:  # ProtectedError and RestrictedError are among them
        log.info("the database refuses a client's change: %s", error)
        raise Refused("the database does not accept this: it breaks one of its rules") from None


def _field(model: Model, name: str) -> Any:
    """A field, also the far end of a relation; None if there is none."""
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _value(instance: Any, path: str) -> Any:
    """The value of ``a.b``; None where a refers to nothing. A related row is said by its key."""
    *above, name = path.split(".")
    for step in above:
        instance = getattr(instance, step, None)
        if instance is None:
            return None
    field = _field(type(instance), name)
    if field is not None and (field.many_to_many or field.one_to_many):
        accessor = field.get_accessor_name() if field.auto_created else name
        return [jsonable(key, path) for key in getattr(instance, accessor).values_list("pk", flat=True)]
    if field is None or not field.concrete:
        value = getattr(instance, name, None)
        return jsonable(value.pk if isinstance(value, models.Model) else value, path)
    value = field.value_from_object(instance)
    try:
        return jsonable(value, path)
    except TypeError:  # a file, or a type of the project's own: as its fixtures have it
        return field.value_to_string(instance)


def _converted(value: object, field: Any) -> Any:
    """
    What a client means for a field.

    Raises:
        BadValue: it cannot be.
    """
    while field.is_relation:
        field = field.target_field
    kind = next((kind for types, kind in KINDS if isinstance(field, types)), None)
    found = value if kind is None else from_json(value, kind)
    if isinstance(found, datetime.datetime):
        if settings.USE_TZ and timezone.is_naive(found):
            return timezone.make_aware(found)
        if not settings.USE_TZ and timezone.is_aware(found):
            return timezone.make_naive(found, datetime.UTC)
    return found


def _is_required(field: Any) -> bool:
    has_default = field.has_default() or getattr(field, "db_default", models.NOT_PROVIDED) is not models.NOT_PROVIDED
    return not (field.null or field.blank or has_default or isinstance(field, models.AutoField))


backend = DjangoBackend()
