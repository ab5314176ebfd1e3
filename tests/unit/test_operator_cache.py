"""The operator's cache: news in any order ends in what the API server has."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_operator.cache import Cache, Key, Kind, is_newer


def thing(
    name: str = "shop",
    *,
    uid: str = "u1",
    version: int = 1,
    namespace: str = "default",
    **more: Any,
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata | more.pop("metadata", {}), **more}


def secret(name: str = "shop", **more: Any) -> dict[str, Any]:
    return thing(name, data={"password": "aHVudGVyMg=="}, **more)


def names(cache: Cache, kind: Kind = "storebackends") -> list[str]:
    return sorted(str(seen.key) for seen in cache.all(kind))


def version_of(cache: Cache, name: str = "shop") -> str | None:
    seen = cache.get("storebackends", "default", name)
    return seen.resource_version if seen is not None else None


class TestNews:
    def test_an_older_state_never_replaces_a_newer_one(self) -> None:
        cache = Cache()
        assert cache.put("storebackends", thing(version=10))
        assert not cache.put("storebackends", thing(version=9))
        assert version_of(cache) == "10"

    def test_the_same_state_twice_is_no_news(self) -> None:
        told: list[Key] = []
        cache = Cache(lambda kind, key: told.append(key))
        cache.put("storebackends", thing())
        cache.put("storebackends", thing())
        assert told == [Key("default", "shop")]

    def test_a_deletion_of_another_uid_is_ignored(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(uid="new", version=5))
        assert not cache.drop("storebackends", thing(uid="old", version=4))
        assert names(cache) == ["default/shop"]

    def test_a_namesake_made_anew_takes_the_place(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(uid="old", version=3))
        assert cache.put("storebackends", thing(uid="new", version=7))
        # The deletion of the old one comes late.
        assert not cache.drop("storebackends", thing(uid="old", version=6))
        assert version_of(cache) == "7"

    def test_late_news_of_what_is_gone_does_not_bring_it_back(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(version=3))
        cache.drop("storebackends", thing(version=6))
        assert not cache.put("storebackends", thing(version=5))
        assert names(cache) == []

    def test_a_deletion_that_comes_first_is_remembered(self) -> None:
        cache = Cache()
        assert not cache.drop("storebackends", thing(version=6))
        assert not cache.put("storebackends", thing(version=5))

    def test_a_secret_whose_label_comes_back_is_there_again(self) -> None:
        cache = Cache()
        cache.put("secrets", secret(version=3))
        assert cache.drop("secrets", secret(version=4))
        assert cache.put("secrets", secret(version=5))
        assert not cache.drop("secrets", secret(version=4)), "the removal, told late"
        assert names(cache, "secrets") == ["default/shop"]

    def test_no_more_deletions_are_remembered_than_allowed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pannier_operator.cache.MOST_GONE", 3)
        cache = Cache()
        for number in range(5):
            cache.drop("secrets", secret(uid=f"u{number}", version=9))
        assert cache.put("secrets", secret("a", uid="u0", version=1)), "forgotten"
        assert not cache.put("secrets", secret("b", uid="u4", version=1))

    @pytest.mark.parametrize(
        ("one", "other", "newer"),
        [("10", "9", True), ("9", "10", False), ("9", "9", False), ("b", "a", True),
         ("a", "a", False), ("018", "17", True)],
    )  # fmt: skip
    def test_versions_are_numbers(self, one: str, other: str, newer: bool) -> None:
        assert is_newer(one, other) is newer


class TestCompleteLists:
    def test_what_a_list_lacks_is_dropped(self) -> None:
        told: list[str] = []
        cache = Cache(lambda kind, key: told.append(key.name))
        cache.put("storebackends", thing("a", uid="a", version=1))
        cache.put("storebackends", thing("b", uid="b", version=2))
        told.clear()
        listing = cache.begin_list("storebackends", None)
        found = cache.finish_list(listing, [thing("a", uid="a", version=1)], "9")
        assert (found.changed, found.gone) == ([], [Key("default", "b")])
        assert told == ["b"] and names(cache) == ["default/a"]

    def test_what_came_while_it_was_under_way_stays(self) -> None:
        cache = Cache()
        listing = cache.begin_list("storebackends", None)
        cache.put("storebackends", thing("late", version=12))
        cache.finish_list(listing, [], "11")
        assert names(cache) == ["default/late"]

    def test_what_was_seen_newer_than_the_list_stays(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing("ahead", version=12))
        listing = cache.begin_list("storebackends", None)
        cache.finish_list(listing, [], "11")
        assert names(cache) == ["default/ahead"]

    def test_what_was_deleted_while_it_was_under_way_is_not_brought_back(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(version=5))
        listing = cache.begin_list("storebackends", None)
        cache.drop("storebackends", thing(version=8))
        found = cache.finish_list(listing, [thing(version=5)], "7")
        assert names(cache) == [] and not found.changed

    def test_a_list_of_one_namespace_says_nothing_of_others(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(uid="a", namespace="one", version=1))
        cache.put("storebackends", thing(uid="b", namespace="two", version=2))
        cache.finish_list(cache.begin_list("storebackends", "one"), [], "9")
        assert names(cache) == ["two/shop"]

    def test_what_only_a_list_told_is_unwatched_until_the_watch_tells_it(self) -> None:
        cache = Cache()
        found = cache.finish_list(cache.begin_list("storebackends", None), [thing(version=4)], "9")
        assert cache.unwatched("storebackends", found.changed) == [Key("default", "shop")]
        cache.put("storebackends", thing(version=4))
        assert cache.unwatched("storebackends", found.changed) == []

    def test_what_a_list_dropped_does_not_come_back_by_late_news(self) -> None:
        cache = Cache()
        cache.put("storebackends", thing(version=4))
        cache.finish_list(cache.begin_list("storebackends", None), [], "9")
        assert not cache.put("storebackends", thing(version=6))
        assert cache.put("storebackends", thing(uid="new", version=11))


class TestWhatIsKept:
    def test_a_secret_keeps_its_data_and_labels_alone(self) -> None:
        cache = Cache()
        noise = {"labels": {"a": "b"}, "annotations": {"last-applied": "{}"}, "managedFields": [1]}
        cache.put("secrets", secret(metadata=noise, type="Opaque"))
        seen = cache.get("secrets", "default", "shop")
        assert seen is not None
        assert seen.content == {"data": {"password": "aHVudGVyMg=="}, "labels": {"a": "b"}}

    def test_a_storebackend_keeps_all_but_its_managed_fields(self) -> None:
        cache = Cache()
        whole = thing(spec={"type": "memory"}, status={"synced": "1/1"}, metadata={"generation": 3})
        whole["metadata"]["managedFields"] = [{"manager": "kubectl"}]
        cache.put("storebackends", whole)
        seen = cache.get("storebackends", "default", "shop")
        assert seen is not None
        assert seen.content["status"] == {"synced": "1/1"}
        assert seen.content["metadata"]["generation"] == 3
        assert "managedFields" not in seen.content["metadata"]

    def test_a_namespace_keeps_its_labels_and_phase(self) -> None:
        cache = Cache()
        metadata = {"name": "shop", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}}
        cache.put("namespaces", {"metadata": metadata, "status": {"phase": "Terminating"}})
        seen = cache.get("namespaces", "", "shop")
        assert seen is not None
        assert seen.content == {"labels": {"a": "b"}, "phase": "Terminating"}

    def test_no_repr_shows_what_a_secret_holds(self) -> None:
        cache = Cache()
        cache.put("secrets", secret())
        assert "aHVud" not in repr(list(cache.all("secrets"))) + repr(cache)
        assert repr(cache) == "<Cache storebackends: 0, secrets: 1, namespaces: 0>"


# Any interleaving ---------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str]]:
    """What happens in a cluster: (put|delete, name), in order."""
    return draw(
        st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from("abc")), max_size=20)
    )


class TestAnyOrder:
    @settings(max_examples=300, deadline=None)
    @given(history=histories(), data=st.data())
    def test_a_watch_and_lists_in_any_interleaving_end_in_the_truth(
        self, history: list[tuple[str, str]], data: st.DataObject
    ) -> None:
        """Lists are taken at any moment of the history and told at any later moment; the watch is
        told in its own order, arbitrarily late, and may lose deletions."""
        uids = (f"u{number}" for number in itertools.count())
        world: dict[str, dict[str, Any]] = {}
        states: list[dict[str, dict[str, Any]]] = [{}]
        events: list[tuple[str, dict[str, Any]]] = []
        for version, (what, name) in enumerate(history, start=1):
            if what == "put":
                uid = world[name]["metadata"]["uid"] if name in world else next(uids)
                world[name] = thing(name, uid=uid, version=version)
                events.append(("put", world[name]))
            elif name in world:
                gone = thing(name, uid=world.pop(name)["metadata"]["uid"], version=version)
                events.append(("drop", gone))
            states.append(dict(world))
        cache = Cache()
        told, present = 0, 0
        for _ in range(data.draw(st.integers(0, 5))):
            listing = cache.begin_list("storebackends", None)
            # The list shows the world not before it was asked for, the watch lags behind it.
            present = data.draw(st.integers(max(present, told), len(states) - 1))
            shown = states[present]
            upto = data.draw(st.integers(told, len(events)))
            for what, each in events[told:upto]:
                self.tell(cache, what, each, lose=data.draw(st.booleans()))
            told = upto
            cache.finish_list(listing, shown.values(), str(present))
        for what, each in events[told:]:
            self.tell(cache, what, each, lose=data.draw(st.booleans()))
        cache.finish_list(
            cache.begin_list("storebackends", None), world.values(), str(len(history))
        )
        assert {seen.key.name: seen.uid for seen in cache.all("storebackends")} == {
            name: each["metadata"]["uid"] for name, each in world.items()
        }

    @staticmethod
    def tell(cache: Cache, what: str, each: dict[str, Any], *, lose: bool) -> None:
        if what == "put":
            cache.put("storebackends", each)
        elif not lose:
            cache.drop("storebackends", each)
