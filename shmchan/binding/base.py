"""
`Binding`: which rows of a model which groups see, and what clients may do to them.

Owns the way out (the groups that see a row, before and after it changed) and the way in (permission, checks, the change), for
every database mapper alike; `shmchan.binding.backends` has what differs. It never watches a database: back ends do, and hand over
what they saw. Workers run it, and every process whose changes are sent.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from shmchan import names
from shmchan.auth import channel_session_user, get_user
from shmchan.binding import backends
from shmchan.binding.refusal import Refused
from shmchan.exceptions import ControlFlow
from shmchan.generic.base import Handler, refuse_async, refuse_coroutine
from shmchan.message import Message
from shmchan.sessions.connection import channel_session

CREATE, UPDATE, DELETE = "create", "update", "delete"
"""The actions, as clients name them."""

ALL = "__all__"

PLAIN = (
    *("group_names", "serialize", "serialize_data", "encode", "pack", "messages", "consumer", "get_handler", "trigger_inbound"),
    *("deserialize", "has_permission", "run_action", "writable_names", "create", "update", "delete", "refuse"),
)
"""Methods that are plain functions; what an `async def` one returns would be taken for a yes."""

Payload = dict[str, Any]
log = logging.getLogger("shmchan.worker")


class Binding:
    """
    One model, as groups see it. Write `group_names`, `serialize` and `encode` for the way out, and `deserialize` and
    `has_permission` for the way in; `shmchan.binding.websockets.WebsocketBinding` has all but `group_names` and `has_permission`.

    Attributes:
        model: a mapped class, its dotted path, or None: this class is a base of others.
        stream: what clients know it by.
        fields: names of the fields that go out and may be set, or ``"__all__"``: all but the key. ``a.b`` is field b of the row
            that a refers to, and only goes out.
        exclude: names of fields that do not; with it ``fields`` may be left out. One of the two is required.
        history: how many of its last messages each group keeps for those who were away, as with ``Group(name, history=n)``.
        channel_session, channel_session_user: whether messages on the way in have a session, and that and ``message.user``.
        message, kwargs, user: on the way in: the message, the named groups of its route, and whose it is.

    Raises:
        ValueError: when the class is made: it has a model, and neither fields nor exclude.
        TypeError: when the class is made: one of its methods is ``async def``.
    """

    model: ClassVar[Any] = None
    stream: ClassVar[str | None] = None
    fields: ClassVar[Sequence[str] | str | None] = None
    exclude: ClassVar[Collection[str] | None] = None
    history: ClassVar[int] = 0
    channel_session: ClassVar[bool] = False
    channel_session_user: ClassVar[bool] = True

    message: Message
    kwargs: Mapping[str, Any]
    user: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_async(cls, PLAIN)
        if cls.model is None:
            return
        if cls.fields is None and cls.exclude is None:
            raise ValueError(f'{cls.__qualname__} sets neither fields nor exclude; name what clients see, or fields = "__all__"')
        if isinstance(cls.fields, str) and cls.fields != ALL:
            raise ValueError(f'the fields of {cls.__qualname__} are a list of names or "__all__", not {cls.fields!r}')
        if cls.exclude is not None and not (cls.fields is None or _means_all(cls.fields)):
            raise ValueError(f"{cls.__qualname__} sets both fields and exclude; a field that is not listed is excluded already")
        backends.register(cls)

    # --- the model

    @classmethod
    def resolved_model(cls) -> Any:
        """The model's class. Raises ImportError: nothing has its path."""
        return backends.find_model(cls.model) if isinstance(cls.model, str) else cls.model

    @classmethod
    def backend(cls) -> backends.Backend:
        """The database mapper of the model."""
        return backends.backend_of(cls.resolved_model())

    @classmethod
    def model_label(cls) -> str:
        """What clients know the model by."""
        return cls.backend().label(cls.resolved_model())

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """
        The fields that go out.

        Raises:
            ValueError: one of fields or exclude is no field of the model.
        """
        known: tuple[str, ...] | None = cls.__dict__.get("_field_names")
        if known is None:
            model, backend = cls.resolved_model(), cls.backend()
            excluded = tuple(cls.exclude or ())
            backend.check_fields(model, excluded)
            if cls.fields is None or _means_all(cls.fields):
                known = tuple(name for name in backend.field_names(model) if name not in excluded)
            else:
                known = tuple(cls.fields)
                backend.check_fields(model, known)
            cls._field_names = known
        return known

    _field_names: ClassVar[tuple[str, ...]]

    # --- the way out

    def group_names(self, instance: Any) -> Iterable[str]:
        """
        The groups that see an instance as it is now; a classmethod is fine, too.

        Asked before and after a change: those that are in the first answer only get a delete, those in both an update, and those
        in the second only a create, in this order.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must have group_names(self, instance): who sees an instance")

    def groups_of(self, instance: Any) -> tuple[str, ...]:
        """
        The answer of `group_names`, each name once.

        Raises:
            TypeError: a name is not allowed, or the answer is a single str.
        """
        found = self.group_names(instance)
        if isinstance(found, str):
            raise TypeError(f"group_names of {type(self).__qualname__} returns a list of names, not the str {found!r}")
        return tuple(names.check_group(name) for name in dict.fromkeys(found))

    def serialize(self, instance: Any, action: str) -> Payload:
        """What a client is told of an instance; nothing is sent if it is empty."""
        raise NotImplementedError(f"{type(self).__qualname__} must have serialize(self, instance, action)")

    def serialize_data(self, instance: Any) -> Payload:
        """The fields of an instance as JSON can say them."""
        return self.backend().data(instance, self.field_names())

    @classmethod
    def encode(cls, stream: str | None, payload: Payload) -> dict[str, Any]:
        """The message that carries a payload."""
        raise NotImplementedError(f"{cls.__qualname__} must have encode(cls, stream, payload)")

    def pack(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """What one group is told at once of many rows: the payloads as they are, or fewer that carry them."""
        return payloads

    def messages(self, payloads: Sequence[Payload]) -> Iterator[dict[str, Any]]:
        """The messages for them."""
        for payload in self.pack(payloads):
            yield self.encode(self.stream, payload)

    # --- the way in

    @classmethod
    def consumer(cls, message: Message, **kwargs: Any) -> None:
        """A consumer that makes the changes that clients send; for routes, and for ``consumers`` of a demultiplexer."""
        cls.get_handler()(message, **kwargs)

    @classmethod
    def get_handler(cls) -> Handler:
        """`trigger_inbound`, with the decorators that the flags ask for."""
        handler: Handler = cls.trigger_inbound
        if cls.channel_session_user:
            return channel_session_user(handler)
        return channel_session(handler) if cls.channel_session else handler

    @classmethod
    def trigger_inbound(cls, message: Message, **kwargs: Any) -> None:
        """Make the change that a message asks for, or refuse it."""
        binding = cls()
        binding.message, binding.kwargs = message, kwargs
        binding.user = getattr(message, "user", None) or get_user(None)
        try:
            binding.run_action(*binding.deserialize(message))
        except Refused as refusal:
            log.info("%s refuses a change of %s: %s %s", cls.__qualname__, binding.user, refusal.reason, refusal.errors or "")
            binding.refuse(refusal)
        except ControlFlow:
            raise
        except Exception:
            binding.refuse(Refused("the server failed; nothing was changed"))
            raise

    def deserialize(self, message: Message) -> tuple[object, object, object]:
        """What a message asks for: ``(action, pk, data)``, with pk None for create and data None for delete."""
        raise NotImplementedError(f"{type(self).__qualname__} must have deserialize(self, message)")

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        """
        Whether a user may do this; must be written, else nobody may do anything.

        Args:
            user: an anonymous one where nobody is logged in.
            action: "create", "update" or "delete".
            pk: the row's key, of the key's own type; None for create. It may be of a row that is not there.
        """
        log.warning("%s has no has_permission(self, user, action, pk), so it denies every change", type(self).__qualname__)
        return False

    def run_action(self, action: object, pk: object, data: object) -> None:
        """
        Check what is asked for, then do it.

        Raises:
            Refused: there is no such action, no permission, or something is wrong with pk or data.
        """
        model, backend = self.resolved_model(), self.backend()
        if action not in (CREATE, UPDATE, DELETE):
            raise Refused(f"there is no action {action!r:.50}; it is create, update or delete")
        assert isinstance(action, str)
        if action == CREATE and pk is not None:
            raise Refused("a new row has no key yet; leave pk out")
        key = None if action == CREATE else backend.key(model, pk)
        allowed = self.has_permission(self.user, action, key)
        refuse_coroutine(allowed, type(self))
        if not allowed:
            raise Refused(f"you may not {action} this")
        if action == DELETE:
            self.delete(key)
            return
        if not isinstance(data, dict):
            raise Refused("data is an object with the values of fields")
        values = backend.clean(model, data, self.writable_names(), whole=action == CREATE)
        if action == CREATE:
            self.create(values)
        else:
            self.update(key, values)

    def writable_names(self) -> Collection[str]:
        """The fields that clients may set: those that go out, unless they are another row's."""
        return [name for name in self.field_names() if "." not in name]

    def create(self, data: Mapping[str, Any]) -> None:
        """Make a row of values that were checked: by field, of the fields' own types. To be overridden by who does more."""
        self.backend().create(self, data)

    def update(self, pk: Any, data: Mapping[str, Any]) -> None:
        """Put values that were checked into a row; the rest of its fields stay. Raises Refused: there is no such row."""
        self.backend().update(self, pk, data)

    def delete(self, pk: Any) -> None:
        """Remove a row. Raises Refused: there is no such row."""
        self.backend().delete(self, pk)

    def refuse(self, refusal: Refused) -> None:
        """Tell the client of the message, and nobody else, that nothing was done."""
        raise NotImplementedError(f"{type(self).__qualname__} must have refuse(self, refusal)")


def _means_all(fields: Sequence[str] | str) -> bool:
    """Channels 1.x knew ``["__all__"]``, too."""
    return fields == ALL or list(fields) == [ALL]
