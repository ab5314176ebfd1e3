"""The framing gate: however the bytes are cut, the same messages come out, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.errors import PannierError
from pannier.server.framing import MAX_HEAD, MAX_TARGET, STAND_IN, Framing, Head


def head(method: str = "GET", target: str = "/", fields: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return (
        b"".join(b"%X;x=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nT: 1\r\n\r\n"
    )


MESSAGES = st.one_of(
    st.just((head(), None, b"")),
    st.binary(max_size=60).map(
        lambda body: (head("PUT", fields=f"Content-Length: {len(body)}\r\n"), len(body), body)
    ),
    st.tuples(st.binary(max_size=60), st.integers(1, 20)).map(
        lambda made: (head("POST", fields="Transfer-Encoding: chunked\r\n"), -1, chunked(*made))
    ),
)


def follow(data: bytes, cuts: list[int]) -> list[tuple[bytes, bytes]]:
    """The heads and raw bodies that come out of `data`, fed in pieces that end at `cuts`."""
    framing = Framing()
    out: list[tuple[bytes, bytes]] = []
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        framing.feed(data[start:end])
        while (piece := framing.next()) is not None:
            if isinstance(piece, Head):
                if b"chunked" in piece:
                    framing.expect(None)
                elif b"Content-Length: " in piece:
                    framing.expect(int(piece.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
                out.append((bytes(piece), b""))
            else:
                out[-1] = (out[-1][0], out[-1][1] + piece)
    assert framing.between
    return out


@given(st.lists(MESSAGES, min_size=1, max_size=6), st.lists(st.integers(0, 5000), max_size=30))
def test_the_cuts_of_the_stream_do_not_matter(
    messages: list[tuple[bytes, int | None, bytes]], cuts: list[int]
) -> None:
    data = b"".join(each[0] + each[2] for each in messages)
    assert follow(data, cuts) == [(each[0], each[2]) for each in messages]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
def test_no_bytes_make_it_fail_in_an_unforeseen_way(data: bytes, cuts: list[int]) -> None:
    framing = Framing()
    framing.feed(data)
    try:
        while (piece := framing.next()) is not None:
            if isinstance(piece, Head):
                framing.expect(None)
    except PannierError:
        framing.feed(b"GET / HTTP/1.1\r\n\r\n")
        assert framing.next() is None, "after a refusal nothing is read"


def test_an_unknown_method_is_shown_to_the_parser_as_another() -> None:
    framing = Framing()
    framing.feed(head("BREW", "/pot"))
    assert framing.next() == head(STAND_IN.decode(), "/pot")


def refusal(data: bytes) -> str | None:
    framing = Framing()
    framing.feed(data)
    try:
        framing.next()
    except PannierError as error:
        return error.code
    return None


@pytest.mark.parametrize("complete", [True, False])
def test_limits_are_exact(complete: bool) -> None:
    end = "" if complete else "x"
    for size, code in ((MAX_TARGET, None), (MAX_TARGET + 1, "target-too-long")):
        data = head(target="/" + "t" * (size - 1)).removesuffix(b"\r\n" if not complete else b"")
        assert refusal(data) == code, (size, end)
    room = MAX_HEAD - len(head(fields="A: \r\n"))
    for size, code in ((room, None), (room + 1, "head-too-large")):
        assert refusal(head(fields="A: " + "x" * size + "\r\n")) == code


def test_a_head_is_refused_as_soon_as_it_cannot_become_one() -> None:
    assert refusal(b"\x16\x03\x01") == "bad-request"
    assert refusal(b"GET / HTTP/1.1\n") == "bad-request"
    assert refusal(b"G" * 8000) is None
    assert refusal(b"G" * 20_000) == "bad-request"
    assert refusal(b"GET /" + b"x" * 9000) == "target-too-long"


def test_a_chunk_line_has_a_limit() -> None:
    framing = Framing()
    framing.feed(head("PUT", fields="Transfer-Encoding: chunked\r\n"))
    assert framing.next()
    framing.expect(None)
    framing.feed(b"1;" + b"x" * 5000)
    with pytest.raises(PannierError, match="too long"):
        framing.next()
