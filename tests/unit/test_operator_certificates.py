"""Certificates on paper: years in a moment, and at each of them sidecars trust what is served."""

from __future__ import annotations

import base64
import random
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from pannier_operator.certificates.issuing import (
    CA_DAYS,
    Leaf,
    Unreadable,
    new_issuer,
    new_leaf,
    read_certificates,
    read_issuer,
)
from pannier_operator.certificates.keeping import Certificates, service_names
from pannier_operator.certificates.planning import (
    FOLLOW_BEFORE,
    KNOWN_BEFORE,
    RENEW_LEAF_AFTER,
    Authorities,
    note_published,
    plan,
    plan_leaf,
)
from pannier_operator.certificates.secret import authorities_of, data_of
from pannier_operator.certificates.serving import load, server_context

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("pannier-stream.pannier-system.svc", "127.0.0.1")
DAY = timedelta(days=1)


def authorities(now: datetime = NOW) -> Authorities:
    return plan(None, now)


def leaf_of(held: Authorities, now: datetime = NOW) -> Leaf:
    made = plan_leaf(None, held.current, NAMES, now)
    assert made is not None
    return made


def trusted(leaf: Leaf, bundle: str, now: datetime) -> bool:
    """Whether a client that has this bundle accepts the leaf for its first name."""
    store = Store(list(read_certificates(bundle.encode())))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(NAMES[0]))
    try:
        verifier.verify(leaf.certificate, [])
    except x509.verification.VerificationError:
        return False
    return True


def test_a_new_ca_and_its_leaf_are_what_clients_and_the_api_server_accept() -> None:
    held = authorities()
    leaf = leaf_of(held)
    assert trusted(leaf, held.bundle(), NOW)
    assert isinstance(leaf.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(leaf.certificate.public_key().curve, ec.SECP256R1)
    names = leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [NAMES[0]]
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == [NAMES[1]]
    assert leaf.certificate.not_valid_after_utc == NOW + 90 * DAY
    assert leaf.certificate.not_valid_before_utc < NOW, "clocks of nodes differ"


def test_nothing_is_due_while_all_is_well() -> None:
    held = authorities()
    leaf = leaf_of(held)
    for days in (0, 1, 59):
        assert plan(held, NOW + days * DAY) is held
        assert plan_leaf(leaf, held.current, NAMES, NOW + days * DAY) is leaf


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (NOW + RENEW_LEAF_AFTER, NAMES),
        (NOW + 80 * DAY, NAMES),
        (NOW - 2 * DAY, NAMES),
        (NOW, (*NAMES, "::1")),
    ],
    ids=["due", "overdue", "the clock went back", "another name"],
)
def test_a_leaf_is_renewed_when_it_is_due(now: datetime, names: tuple[str, ...]) -> None:
    held = authorities()
    leaf = leaf_of(held)
    renewed = plan_leaf(leaf, held.current, names, now)
    assert renewed is not None and renewed is not leaf
    assert renewed.names == names


def test_a_leaf_never_outlives_its_ca() -> None:
    held = authorities()
    leaf = new_leaf(held.current, NAMES, held.current.ends_at - DAY)
    assert leaf.certificate.not_valid_after_utc == held.current.ends_at


def test_a_ca_that_has_ended_signs_nothing_and_what_is_served_stays() -> None:
    held = authorities()
    leaf = leaf_of(held)
    assert plan_leaf(leaf, held.current, NAMES, held.current.ends_at) is leaf
    assert plan_leaf(None, held.current, NAMES, held.current.ends_at) is None


def test_a_ca_is_followed_by_one_that_is_known_for_a_day_before_it_signs() -> None:
    held = authorities()
    due = held.current.ends_at - FOLLOW_BEFORE
    assert plan(held, due - timedelta(seconds=1)) is held
    followed = plan(held, due)
    assert followed.current == held.current
    assert followed.following is not None
    assert len(read_certificates(followed.bundle().encode())) == 2
    assert plan(followed, due + 30 * DAY) is followed, "it was published nowhere yet"
    published = note_published(followed, due + DAY)
    assert note_published(published, due + 2 * DAY) is published, "the first time counts"
    assert plan(published, due + DAY + KNOWN_BEFORE - timedelta(seconds=1)) is published
    taken_over = plan(published, due + DAY + KNOWN_BEFORE)
    assert taken_over.current == followed.following
    assert taken_over.previous == (held.current.certificate,)
    assert taken_over.bundle() == followed.bundle(), "nothing is written anew"
    assert plan(taken_over, due + 90 * DAY).previous == taken_over.previous
    assert plan(taken_over, due + 95 * DAY).previous == ()


def test_a_ca_that_ended_while_nobody_looked_is_replaced_at_once() -> None:
    held = authorities()
    late = NOW + (CA_DAYS + 10) * DAY
    again = plan(held, late)
    assert again.current != held.current
    assert again.current.ends_at > late
    followed = plan(held, held.current.ends_at - FOLLOW_BEFORE)
    assert plan(followed, late).current == followed.following, "it needs no day any more"
    assert plan(followed, late + CA_DAYS * DAY).current.ends_at > late + CA_DAYS * DAY


@pytest.mark.parametrize("seed", range(5))
def test_for_years_every_sidecar_trusts_what_is_served(seed: int) -> None:
    # The operator is away for hours or days, publishing fails for days; a sidecar has a bundle that
    # is up to a day old. Yet it trusts every leaf that is served.
    rng = random.Random(seed)
    now = NOW
    held = authorities(now)
    leaf = leaf_of(held, now)
    bundles = [(now, held.bundle())]
    signers = set()
    while now < NOW + 6 * 365 * DAY:
        now += timedelta(hours=rng.choice([1, 6, 12, 30, 24 * 8]))
        held = plan(held, now)
        leaf = plan_leaf(leaf, held.current, NAMES, now) or leaf
        signers.add(held.current.certificate.serial_number)
        assert len(read_certificates(held.bundle().encode())) <= 3
        if rng.random() < 0.5:
            held = note_published(held, now)
            bundles.append((now, held.bundle()))
        old = max((each for each in bundles if each[0] <= now - DAY), default=bundles[0])
        for _, bundle in (old, bundles[-1]):
            assert trusted(leaf, bundle, now)
    assert len(signers) >= 4


def test_a_secret_brings_back_what_was_put_into_it() -> None:
    held = authorities()
    for each in (
        held,
        followed := plan(held, held.current.ends_at - FOLLOW_BEFORE),
        published := note_published(followed, NOW + 600 * DAY),
        plan(published, NOW + 602 * DAY),
    ):
        assert authorities_of(data_of(each)) == each


def spoiled(entry: str, value: bytes | None) -> dict[str, str]:
    data = data_of(plan(authorities(), NOW + (CA_DAYS - 100) * DAY))
    if value is None:
        del data[entry]
    else:
        data[entry] = base64.b64encode(value).decode()
    return data


LEAF = leaf_of(authorities())
OTHER = new_issuer(NOW)
SPOILED: dict[str, tuple[dict[str, str], str]] = {
    "empty": ({}, "ca.crt is missing"),
    "no key": (spoiled("ca.key", None), "ca.key is missing"),
    "garbage": (spoiled("ca.crt", b"hello"), "ca.crt and ca.key: the certificate is not readable"),
    "cut key": (spoiled("ca.key", b"-----BEGIN PRIVATE KEY-----\nMIGH"), "the key is not readable"),
    "another's key": (spoiled("ca.key", OTHER.key_pem().encode()), "the key is not the certificat"),
    "no CA": (
        {
            "ca.crt": base64.b64encode(LEAF.certificate_pem().encode()).decode(),
            "ca.key": base64.b64encode(LEAF.key_pem().encode()).decode(),
        },
        "the certificate is not that of a CA",
    ),
    "half a follower": (spoiled("next.key", None), "next.key is missing"),
    "garbage before": (spoiled("previous.crt", b"hello"), "previous.crt: the certificates are not"),
    "no time": (spoiled("ca.since", b"yesterday"), "ca.since is no time"),
    "no zone": (spoiled("ca.since", b"2026-03-01T00:00:00"), "ca.since names no time zone"),
    "no base64": ({"ca.crt": "!", "ca.key": "!"}, "ca.crt is not base64"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_cannot_be_read_is_said_by_entry_without_its_content(name: str) -> None:
    data, expected = SPOILED[name]
    with pytest.raises(Unreadable, match=expected) as caught:
        authorities_of(data)
    assert "BEGIN" not in str(caught.value)


def test_no_key_is_shown() -> None:
    held = plan(authorities(), NOW + (CA_DAYS - 100) * DAY)
    leaf = leaf_of(held)
    for each in (held, held.current, leaf):
        assert "PRIVATE" not in repr(each)
        assert "key" not in repr(each).lower()


def test_a_key_of_another_kind_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(Unreadable, match="no elliptic-curve key"):
        read_issuer(OTHER.certificate_pem().encode(), text)


def test_names_are_those_of_the_service_and_what_is_added() -> None:
    assert service_names("pannier-stream", "system", ["127.0.0.1", "x"]) == (
        "pannier-stream.system.svc",
        "pannier-stream.system.svc.cluster.local",
        "pannier-stream.system",
        "127.0.0.1",
        "x",
    )


def test_a_name_that_no_certificate_can_have_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="A-label"):
        Certificates(
            None,  # type: ignore[arg-type]
            namespace="x",
            names=["käse.example"],
            may_write=lambda: True,
            served=lambda: (),
        )


# TLS ----------------------------------------------------------------------------------------------


class TlsServer:
    """Handshakes, one after another, with whatever its context has."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            connection.settimeout(30)
            with connection:
                if connection.recv(1, socket.MSG_PEEK) == b"q":
                    return
                try:
                    self.context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    pass  # The client did not like the certificate.

    def serial(self, bundle: str) -> str:
        """The serial number that a client sees which trusts `bundle`, as sidecars do."""
        client = ssl.create_default_context(cadata=bundle)
        client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
        with socket.create_connection(self.socket.getsockname(), 30) as connection:
            with client.wrap_socket(connection, server_hostname=NAMES[0]) as tls:
                shown: dict[str, Any] = tls.getpeercert() or {}
                return str(shown["serialNumber"])

    def close(self) -> None:
        with socket.create_connection(self.socket.getsockname(), 30) as connection:
            connection.sendall(b"q")
        self.thread.join(30)
        self.socket.close()


def test_a_renewed_certificate_serves_new_handshakes_without_a_restart() -> None:
    now = datetime.now(UTC)
    held = authorities(now)
    first = leaf_of(held, now)
    context = server_context()
    load(context, first)
    server = TlsServer(context)
    try:
        assert int(server.serial(held.bundle()), 16) == first.certificate.serial_number
        following = new_issuer(now)
        both = replace(held, following=following)
        second = new_leaf(following, NAMES, now)
        load(context, second)
        assert int(server.serial(both.bundle()), 16) == second.certificate.serial_number
        with pytest.raises(ssl.SSLCertVerificationError):
            server.serial(held.bundle())
    finally:
        server.close()
