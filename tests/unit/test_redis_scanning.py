"""Walking Redis's tables in pages that are cut anywhere, against a model of Redis's tables.

The model is `dict.c`: chained buckets, a second table while the records move to a larger or smaller
one, `dictScan` over both, and HSCAN's COUNT and its limit of empty buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.errors import InvalidCursor
from pannier.redis.scanning import (
    Batch,
    BatchSizes,
    Bound,
    Place,
    batch_of,
    check_run,
    decode,
    encode,
    fraction,
)


class Table:
    """A Redis hash of names, as its `dict` holds it."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.tables: list[list[list[str]]] = [[[] for _ in range(4)]]
        self.moved = 0
        """Buckets of the first table that have been moved to the second."""

    def __contains__(self, name: str) -> bool:
        return any(name in table[self.hash(name) % len(table)] for table in self.tables)

    def names(self) -> set[str]:
        return {name for table in self.tables for bucket in table for name in bucket}

    def hash(self, name: str) -> int:
        salt = self.seed.to_bytes(8, "big")
        return int.from_bytes(blake2b(name.encode(), digest_size=8, salt=salt).digest(), "big")

    def add(self, name: str) -> None:
        if name not in self:
            self.tables[-1][self.hash(name) % len(self.tables[-1])].append(name)
            self.resize_if_due()

    def remove(self, name: str) -> None:
        for table in self.tables:
            bucket = table[self.hash(name) % len(table)]
            if name in bucket:
                bucket.remove(name)
        self.resize_if_due()

    def resize_if_due(self) -> None:
        if len(self.tables) == 2:
            return
        used, size = len(self.names()), len(self.tables[0])
        wanted = size
        while wanted < used:
            wanted *= 2
        while wanted > 4 and used * 10 < wanted:
            wanted //= 2
        if wanted != size:
            self.tables.append([[] for _ in range(wanted)])
            self.moved = 0

    def rehash(self, buckets: int) -> None:
        """Move the records of some more buckets, as each access to the hash moves one."""
        for _ in range(buckets):
            if len(self.tables) == 1:
                return
            old, new = self.tables
            for name in old[self.moved]:
                new[self.hash(name) % len(new)].append(name)
            old[self.moved] = []
            self.moved += 1
            if self.moved == len(old):
                self.tables = [new]

    def scan(self, cursor: int, count: int) -> tuple[int, list[str]]:
        """HSCAN: the next cursor, and the names."""
        found: list[str] = []
        for _ in range(10 * count + 1):
            cursor = self.step(cursor, found)
            if cursor == 0 or len(found) >= count:
                break
        return cursor, found

    def step(self, cursor: int, found: list[str]) -> int:
        """dictScan."""
        small, *large = sorted(self.tables, key=len)
        mask = len(small) - 1
        found += small[cursor & mask]
        if not large:
            return increased(cursor, mask)
        wide = len(large[0]) - 1
        while True:
            found += large[0][cursor & wide]
            cursor = increased(cursor, wide)
            if not cursor & (mask ^ wide):
                return cursor


def increased(cursor: int, mask: int) -> int:
    """The next cursor: counting up the masked bits in their reversed order."""
    cursor |= ~mask & (1 << 64) - 1
    cursor = reversed_bits(cursor)
    cursor = (cursor + 1) % (1 << 64)
    return reversed_bits(cursor)


def reversed_bits(number: int) -> int:
    return int(f"{number:064b}"[::-1], 2)


def walk(
    table: Table, cut: Callable[[Batch], int | None], change: Callable[[], None], count: int
) -> list[str]:
    """Every name that a client of pages gets; a page ends after the batch's item `cut` (or whole).

    `change` happens to the table between pages.
    """
    delivered: list[str] = []
    cursor: str | None = None
    for _ in range(5000):
        place, _ = decode(cursor, "schema")
        asked = place.count or count
        stop, names = table.scan(place.position, asked)
        batch = batch_of(place, asked, stop, names)
        kept = [names[index] for index in batch.keep]
        item = cut(batch) if kept else None
        if item is None:
            delivered += kept
            following = batch.next
        else:
            delivered += kept[: item + 1]
            following = batch.after(kept[item])
        if following is None:
            return delivered
        cursor = encode(following, "schema")
        change()
    raise AssertionError("the scan does not end")


operations = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 400)), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    size=st.integers(0, 300),
    seed=st.integers(0, 50),
    count=st.sampled_from([1, 2, 7, 50, 500]),
    before=st.integers(0, 200),
    pace=st.sampled_from([0, 0.3, 1]),
)
def test_if_nothing_changes_every_record_is_seen_exactly_once(
    data: st.DataObject, size: int, seed: int, count: int, before: int, pace: float
) -> None:
    """Also while Redis moves the records to another table, which needs no change of ours."""
    table = Table(seed)
    for number in range(size):
        table.add(f"n{number}")
        table.rehash(int((number + 1) * pace) - int(number * pace))
    for number in range(before):
        table.remove(f"n{number}")
    present = table.names()
    random = data.draw(st.randoms(use_true_random=False))

    def cut(batch: Batch) -> int | None:
        return random.randrange(len(batch.keep)) if random.random() < 0.8 else None

    found = walk(table, cut, lambda: table.rehash(random.randrange(4)), count)
    assert sorted(found) == sorted(present)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_rehash_that_ends_between_two_pages_repeats_nothing(count: int) -> None:
    """From then on Redis can end a batch at finer places than the page before did."""
    for seed in range(400):
        table = Table(seed)
        for number in range(20):
            table.add(f"n{number}")
            table.rehash(number % 2)
        pages = iter(range(1000))
        random = Random(seed)

        def cut(batch: Batch, random: Random = random) -> int | None:
            return random.randrange(len(batch.keep))

        def change(table: Table = table, pages: Iterator[int] = pages, seed: int = seed) -> None:
            if next(pages) == seed % 4:
                table.rehash(1000)

        found = walk(table, cut, change, count)
        assert sorted(found) == sorted(table.names()), (seed, count)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    size=st.integers(0, 300),
    seed=st.integers(0, 50),
    count=st.sampled_from([1, 2, 7, 50, 500]),
    changes=st.lists(operations, max_size=20),
)
def test_a_record_present_throughout_is_seen_whatever_happens_to_the_others(
    data: st.DataObject, size: int, seed: int, count: int, changes: list[list[tuple[str, int]]]
) -> None:
    table = Table(seed)
    for number in range(size):
        table.add(f"n{number}")
        table.rehash(1)
    ours = {f"n{number}" for number in range(0, size, 3)}
    random = data.draw(st.randoms(use_true_random=False))
    left = list(changes)

    def cut(batch: Batch) -> int | None:
        return random.randrange(len(batch.keep)) if random.random() < 0.8 else None

    def change() -> None:
        for verb, number in left.pop() if left else []:
            name = f"n{number}"
            if verb == "add":
                table.add(name)
            elif name not in ours:
                table.remove(name)
            table.rehash(random.randrange(3))

    assert ours <= set(walk(table, cut, change, count))


def test_a_page_under_steady_deletes_and_inserts_still_gets_on() -> None:
    table = Table()
    for number in range(200):
        table.add(f"n{number}")
        table.rehash(1)
    turn = iter(range(200, 100_000))

    def change() -> None:
        number = next(turn)
        table.add(f"n{number}")
        table.remove(f"n{number - 100}")
        table.rehash(2)

    # Ever one record a page, of batches of 50: each page goes on a little further.
    walk(table, lambda batch: 0, change, 50)


def test_a_small_hash_that_became_a_table_between_pages_loses_nothing() -> None:
    small = [f"n{number:02}" for number in range(20)]
    batch = batch_of(Place(), 5, 0, list(reversed(small)))
    assert [small[19 - index] for index in batch.keep] == small
    place: Place | None = decode(encode(batch.after("n09"), "s"), "s")[0]
    table = Table()
    for number in range(100):
        table.add(f"n{number:02}")
        table.rehash(100)
    delivered: list[str] = []
    while place is not None:
        asked = place.count or 5
        stop, names = table.scan(place.position, asked)
        batch = batch_of(place, asked, stop, names)
        delivered += [names[index] for index in batch.keep]
        place = batch.next
    assert set(small[10:]) <= set(delivered)
    assert not set(small[:10]) & set(delivered)


def test_a_scan_goes_through_all_buckets_of_a_schema() -> None:
    assert batch_of(Place(0, 7), 10, 0, [], buckets=3).next == Place(1)
    assert batch_of(Place(1, 7), 10, 3, [], buckets=3).next == Place(1, 3)
    assert batch_of(Place(2, 7), 10, 0, [], buckets=3).next is None


@given(
    bucket=st.integers(0, 4),
    position=st.integers(0, (1 << 64) - 1),
    count=st.integers(1, 1000),
    bounds=st.lists(
        st.builds(Bound, st.integers(0, (1 << 64) - 1), st.text(max_size=20)), max_size=4
    ),
)
def test_a_cursor_brings_its_place_back_and_is_url_safe(
    bucket: int, position: int, count: int, bounds: list[Bound]
) -> None:
    place = Place(bucket, position, count if bounds else 0, tuple(bounds))
    cursor = encode(place, "pannier:Cart", "00aa11")
    begins = place.position == 0 and not bounds
    assert decode(cursor, "pannier:Cart", buckets=5) == (place, "" if begins else "00aa11")
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("cursor", [
    "", "x", "é", "0", "=", "A" * 9000, encode(Place(), "pannier:Other"),
    encode(Place(5), "pannier:Cart"), encode(Place(-1), "pannier:Cart"),
    encode(Place(0, 1 << 64), "pannier:Cart"), encode(Place(0, 1, 5), "pannier:Cart"),
    encode(Place(), "pannier:Cart") + "\n", encode(Place(), "pannier:Cart") + "=",
    encode(Place(0, 1, 0, (Bound(1, "a"),)), "pannier:Cart"),
    encode(Place(0, 1, 9, (Bound(1, "a"),) * 5), "pannier:Cart"),
])  # fmt: skip
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        decode(cursor, "pannier:Cart", buckets=5)


def test_a_cursor_of_another_run_of_the_server_is_refused_if_both_are_known() -> None:
    with pytest.raises(InvalidCursor, match="restarted"):
        check_run("00aa11", "22bb33")
    check_run("00aa11", "00aa11")
    check_run("", "22bb33")
    check_run("00aa11", "")


@given(st.integers(0, (1 << 64) - 1))
def test_a_position_is_the_fraction_of_the_table_that_lies_before_it(position: int) -> None:
    assert fraction(position) == reversed_bits(position)


def test_batches_stay_near_two_mebibytes_whatever_the_records_size() -> None:
    sizes = BatchSizes()
    assert sizes.count_for("Cart", 1000) == BatchSizes.FIRST
    sizes.learn("Cart", [b"x" * 250] * 16)
    assert sizes.count_for("Cart", 1000) == 1000
    assert sizes.count_for("Cart", 10) == 10
    sizes.learn("Cart", [b"x" * 1_000_000])
    assert sizes.count_for("Cart", 1000) == 2
    sizes.learn("Cart", [b"x" * 10_000_000])
    assert sizes.count_for("Cart", 1000) == 1
    for _ in range(20):
        sizes.learn("Cart", [b"x"] * 10)
    assert sizes.count_for("Cart", 1000) == 1000
    sizes.learn("Cart", [])


def test_only_so_many_schemas_sizes_are_remembered() -> None:
    sizes = BatchSizes()
    for number in range(3 * BatchSizes.KEPT):
        sizes.learn(f"Schema{number}", [b"x"])
        assert len(sizes._bytes) <= BatchSizes.KEPT
