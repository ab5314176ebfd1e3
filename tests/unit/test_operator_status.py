"""The patch between two statuses, and what an API error is told as."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_operator.status import merge_patch

keys = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.integers())),
    lambda inner: st.dictionaries(keys, inner),
)
statuses = st.dictionaries(keys, values)


def applied(patch: Any, to: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(to) if isinstance(to, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(value, result.get(key))
    return result


@settings(deadline=None)
@given(statuses, statuses)
def test_the_patch_makes_the_one_of_the_other(before: Any, after: Any) -> None:
    assert applied(merge_patch(before, after), before) == after


@settings(deadline=None)
@given(statuses)
def test_the_patch_of_the_same_is_empty(status: Any) -> None:
    assert merge_patch(status, status) == {}
