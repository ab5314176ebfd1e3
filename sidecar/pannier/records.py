"""Records: objects with a state of JSON, to stored bytes and back. Pure.

Any class with `get_state() -> dict` and `set_state(dict)` is a record. The mixin gives both to
plain classes, dataclasses, attrs, pydantic and msgspec classes, and the record's own save, update,
delete and reload on the store that its class is bound to. Nothing is ever pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from pannier import class_annotations, json_text, plain, shapes, typed_fields
from pannier.errors import InvalidRecord, StoreNotFound

R = TypeVar("R")

_STORES: WeakKeyDictionary[type, Any] = WeakKeyDictionary()


class BackendIntegrationMixin:
    """Makes the objects of a class records.

    A field's stored form follows from its value: datetime, date and time as ISO 8601, UUID and
    Decimal as text, an Enum by its value, bytes as base64, objects as objects; it is restored to
    the type that the class (or `__init__`) annotates. Stored fields that are missing take their
    declared defaults. Unknown ones are kept by plain classes (and pydantic models that allow
    extra fields) and ignored by the others, which have no place for them.

    The class needs an `id` (a str or an int): its record's key. With a store of `pannier.aio`,
    `save`, `update`, `delete` and `reload` return a coroutine to await.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def id(self) -> Any:
            """The record's key, a str or an int."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        class_annotations.remember_names_around(cls)

    @classmethod
    def get_schema_name(cls) -> str:
        """The schema of the class's records: the class's name, unless a class says otherwise."""
        return cls.__name__

    @classmethod
    def bind(cls, store: Any) -> None:
        """Let the class's records live in `store` (sync or async), until it is bound anew.

        Subclasses follow their base, unless they are bound themselves.
        """
        _STORES[cls] = store

    def get_state(self) -> dict[str, Any]:
        """The record's state as a fresh JSON object. Raises InvalidRecord."""
        return plain.state_of(self)

    def set_state(self, state: dict[str, Any]) -> None:
        """Make `state` the record's state, all of it or (InvalidRecord) nothing."""
        typed_fields.fill(self, plain.plain(state), stale_names(self, state))

    def save(self) -> Any:
        """Store the record, whether or not it is there already."""
        return store_of(type(self)).upsert_record(self.get_schema_name(), self.id, self)

    def update(self) -> Any:
        """Replace the stored record. Raises ObjectDoesNotExist if it is missing."""
        return store_of(type(self)).update_record(self.get_schema_name(), self.id, self)

    def delete(self) -> Any:
        """Delete the stored record. Raises ObjectDoesNotExist if it is missing."""
        return store_of(type(self)).delete_record(self.get_schema_name(), self.id)

    def reload(self) -> Any:
        """Set the stored state into this object. Raises ObjectDoesNotExist if it is missing."""
        return store_of(type(self)).reload_record(self.get_schema_name(), self)


plain.derived_get_states.add(BackendIntegrationMixin.get_state)
plain.derived_set_states.add(BackendIntegrationMixin.set_state)


def store_of(klass: type) -> Any:
    """The store a record class is bound to, by itself or by a base. Raises StoreNotFound."""
    for base in klass.__mro__:
        store = _STORES.get(base)
        if store is not None:
            return store
    raise StoreNotFound(f"{klass.__name__} has no store; call {klass.__name__}.bind(store) first.")


def stale_names(record: Any, state: dict[str, Any]) -> set[str]:
    """The names of a plain object's present state that `state` lacks."""
    shape = shapes.shape_of(type(record))
    if shape.closed:
        return set()
    present = shape.values(record)
    if present and type(record).get_state not in plain.derived_get_states:
        present = record.get_state()
    return present.keys() - state.keys()


def dump(record: Any) -> bytes:
    """A record's state as the bytes to store. Raises InvalidRecord."""
    if not hasattr(type(record), "get_state"):
        raise InvalidRecord(f"A {type(record).__name__} has no get_state(), so it is no record.")
    if type(record).get_state in plain.derived_get_states:
        return json_text.encode(plain.state_of(record))
    state = record.get_state()
    if not isinstance(state, dict):
        raise InvalidRecord(f"{type(record).__name__}.get_state() gave no dict.")
    return json_text.encode(plain.plain(state))


def load(klass: type[R], value: bytes) -> R:
    """A new `klass` with the stored state, built without calling `__init__`.

    Raises InvalidRecord if the value is no JSON object or does not fit the class.
    """
    try:
        return cast(R, typed_fields.build(klass, state_in(value)))
    except RecursionError:
        return json_text.on_whole_stack(lambda: load(klass, value))


def restore(record: Any, value: bytes) -> None:
    """Set the stored state into `record`, all of it or (InvalidRecord) nothing."""
    state = state_in(value)
    try:
        if type(record).set_state in plain.derived_set_states:
            typed_fields.fill(record, state, stale_names(record, state))
        else:
            record.set_state(state)
    except RecursionError:
        json_text.on_whole_stack(restore, record, value)


def state_in(value: bytes) -> dict[str, Any]:
    """The state that stored bytes hold. Raises InvalidRecord if it is no JSON object."""
    state = json_text.parse_state(value)
    if not isinstance(state, dict):
        raise InvalidRecord("The stored value is no JSON object, so it is no record's state.")
    return state
