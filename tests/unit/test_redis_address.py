"""How nodes are written, and addresses shown."""

from __future__ import annotations

import pytest

from pannier.redis.address import RedisAddress, node_of


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("redis.test", ("redis.test", 26379)),
        ("redis.test:1", ("redis.test", 1)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]", ("::1", 26379)),
        ("[fd00::1]:5", ("fd00::1", 5)),
    ],
)
def test_a_node_is_a_host_with_or_without_a_port(text: str, node: tuple[str, int]) -> None:
    assert node_of(text, 26379) == node


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:65536", "a:x", "::1", "u:p@a:1", "a/b"])
def test_what_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="A node is"):
        node_of(text, 26379)


def test_an_address_shows_where_and_no_login() -> None:
    address = RedisAddress(host="::1", port=5, username="shop", password="s3cret")
    assert str(address) == "[::1]:5"
    assert str(RedisAddress(unix_socket="/run/redis.sock")) == "/run/redis.sock"
    assert "s3cret" not in repr(address)
