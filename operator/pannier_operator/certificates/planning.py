"""What is to be done with the certificates now, from what is there and the time. Pure but for keys.

A CA that follows another is known to sidecars for a day before it signs anything, counted from when
it was published everywhere; the one before stays known until nothing that it signed can be in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from pannier_operator.certificates.issuing import (
    LEAF_DAYS,
    Issuer,
    Leaf,
    new_issuer,
    new_leaf,
    pem_of,
)

FOLLOW_BEFORE: Final = timedelta(days=2 * LEAF_DAYS)
"""How long before a CA ends another one is made: whatever it signs ends before it does."""
KNOWN_BEFORE: Final = timedelta(hours=24)
"""How long a CA is published before it signs: a kubelet brings a changed ConfigMap within two
minutes, but a sidecar may be cut off, and a person may stop the operator in between."""
RENEW_LEAF_AFTER: Final = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA that signs, the one that will, and those that did."""

    current: Issuer
    since: datetime
    """When the current one began to sign."""
    following: Issuer | None = None
    published: datetime | None = None
    """When every served namespace had come to know the following one."""
    previous: tuple[x509.Certificate, ...] = ()

    def bundle(self) -> str:
        """The certificates of all of them, in PEM: what sidecars are to trust."""
        known = {self.current.certificate, *self.previous}
        if self.following is not None:
            known.add(self.following.certificate)
        # In an order that does not change when they change their parts.
        return "".join(
            pem_of(each)
            for each in sorted(known, key=lambda c: (c.not_valid_before_utc, c.serial_number))
        )


def plan(held: Authorities | None, now: datetime) -> Authorities:
    """What is to be held now: `held` itself where nothing is due."""
    if held is None:
        return Authorities(new_issuer(now), now)
    current = held.current
    following, published = held.following, held.published
    if following is not None and following.ends_at <= now:
        return plan(replace(held, following=None, published=None), now)
    known = published is not None and now >= published + KNOWN_BEFORE
    if following is not None and (known or current.ends_at <= now):
        # Where the current one has ended nobody trusts it anyway: the day is not waited for.
        previous = (*_still_known(held, now), current.certificate)
        return Authorities(following, now, previous=previous)
    if current.ends_at <= now:
        return Authorities(new_issuer(now), now, previous=_still_known(held, now))
    if following is None and now >= current.ends_at - FOLLOW_BEFORE:
        return replace(held, following=new_issuer(now))
    previous = _still_known(held, now)
    return held if previous == held.previous else replace(held, previous=previous)


def note_published(held: Authorities, now: datetime) -> Authorities:
    """The bundle of `held` is in every served namespace."""
    if held.following is None or held.published is not None:
        return held
    return replace(held, published=now)


def _still_known(held: Authorities, now: datetime) -> tuple[x509.Certificate, ...]:
    """Of those before, that may have signed something in use: all of it ends a leaf's lifetime
    after the current one took over. A day more for operators that took notice late."""
    if now >= held.since + timedelta(days=LEAF_DAYS + 1):
        return ()
    return tuple(each for each in held.previous if each.not_valid_after_utc > now)


def plan_leaf(
    held: Leaf | None, issuer: Issuer, names: Sequence[str], now: datetime
) -> Leaf | None:
    """The leaf to serve with now: `held` itself where nothing is due, or where the CA has ended and
    can sign nothing that anybody would trust."""
    if now >= issuer.ends_at:
        return held
    if (
        held is not None
        and held.issuer == issuer.certificate
        and held.names == tuple(names)
        and held.certificate.not_valid_before_utc <= now < held.made_at + RENEW_LEAF_AFTER
    ):
        return held
    return new_leaf(issuer, names, now)
