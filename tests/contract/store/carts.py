"""Record classes the suite stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pannier import BackendIntegrationMixin


@dataclass
class Cart(BackendIntegrationMixin):
    """A record as most are."""

    id: str | int
    total: float = 0
    items: list[Any] = field(default_factory=list)


class Anything:
    """A record without the mixin: its state is whatever it is given."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    @property
    def id(self) -> Any:
        return self.state["id"]

    def get_state(self) -> dict[str, Any]:
        return self.state

    def set_state(self, state: dict[str, Any]) -> None:
        self.state = state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anything) and self.state == other.state

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Anything({self.state})"
