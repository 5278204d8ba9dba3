"""
What a binding needs of a database's mapper, and which mapper a model is of.

Owns the contract `Backend`, and the list of bindings by model. It never reads a database itself. Workers run it, and every
process whose changes are sent.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from shmchan.binding.base import Binding

Model = type[Any]


class Backend(Protocol):
    """
    One kind of models. Keys and values that go out are what JSON can say; what comes in is checked and converted.
    """

    def label(self, model: Model) -> str:
        """What clients know a model by."""

    def field_names(self, model: Model) -> Sequence[str]:
        """Its fields, without the primary key."""

    def check_fields(self, model: Model, names: Collection[str]) -> None:
        """Raises ValueError: there is no such field; ``a.b`` is field b of what a refers to."""

    def pk(self, instance: Any) -> Any:
        """The key of an instance: a list where it has several columns."""

    def data(self, instance: Any, names: Sequence[str]) -> dict[str, Any]:
        """The values of these fields. Raises TypeError: JSON cannot say one of them."""

    def key(self, model: Model, pk: object) -> Any:
        """The key that a client means. Raises Refused: it cannot be one."""

    def clean(self, model: Model, data: Mapping[str, object], names: Collection[str], whole: bool) -> dict[str, Any]:
        """
        The values that a client means.

        Args:
            data: values by field.
            names: the fields that may be set.
            whole: whether they make a new row, so that nothing may be missing that has no default.

        Raises:
            Refused: there are others, or one cannot be the value of its field.
        """

    def create(self, binding: "Binding", data: Mapping[str, Any]) -> None:
        """Make a row. Raises Refused: the database does not want it."""

    def update(self, binding: "Binding", pk: Any, data: Mapping[str, Any]) -> None:
        """Change a row. Raises Refused: there is none, or the database does not want it."""

    def delete(self, binding: "Binding", pk: Any) -> None:
        """Remove a row. Raises Refused: there is none, or the database does not want it."""


_bindings: list[type["Binding"]] = []
_of_model: dict[Model, tuple[type["Binding"], ...]] = {}
_listeners: list[Callable[[type["Binding"]], object]] = []


def register(binding: type["Binding"]) -> None:
    """A binding with a model was written."""
    _bindings.append(binding)
    _of_model.clear()
    for listener in _listeners:
        listener(binding)


def when_registered(listener: Callable[[type["Binding"]], object]) -> None:
    """Call a listener with each binding: now with those that are there, and later with every new one."""
    for binding in _bindings:
        listener(binding)
    _listeners.append(listener)


def registered() -> tuple[type["Binding"], ...]:
    """All of them, in the order they were written."""
    return tuple(_bindings)


def forget(binding: type["Binding"]) -> None:
    """A binding is no more; for tests that write their own."""
    _bindings.remove(binding)
    _of_model.clear()


def bindings_of(model: Model) -> tuple[type["Binding"], ...]:
    """The bindings whose model this is, or a base of it."""
    found = _of_model.get(model)
    if found is None:
        found = _of_model[model] = tuple(binding for binding in _bindings if issubclass(model, binding.resolved_model()))
    return found


def find_model(path: str) -> Model:
    """
    The model of a dotted path: ``package.module.Class``, and for Django ``app_label.Class``, too.

    Raises:
        ImportError: there is none.
    """
    module_name, _, name = path.rpartition(".")
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    if apps is not None and apps.models_ready and module_name in apps.app_configs:
        model: Model = apps.get_model(path)
        return model
    if not module_name:
        raise ImportError(f"{path!r} is no path of a model; write package.module.Class")
    try:
        model = getattr(importlib.import_module(module_name), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ImportError(f"the model {path!r} cannot be found: {error}") from error
    return model


def backend_of(model: Model) -> Backend:
    """
    The mapper that a model belongs to.

    Raises:
        TypeError: it is none that shmchan knows.
    """
    for mark, module in _BACKENDS.items():
        if hasattr(model, mark):
            found: Backend = importlib.import_module(module).backend
            return found
    raise TypeError(f"{model!r} is no model of SQLAlchemy or Django; bind a class that is mapped to a table")


_BACKENDS = {"__mapper__": "shmchan.binding.sqlalchemy.backend", "_meta": "shmchan.contrib.django.backend"}
"""The attribute by which a model is known to be one, and the module with its ``backend``."""
