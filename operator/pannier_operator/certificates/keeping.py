"""Keeps the operator's certificates: read or made at the start, renewed in time, made known.

Every replica signs a leaf of its own with the CA in the Secret, so that each can serve and no key
of a server is ever stored. The leader alone lets one CA follow another and publishes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from kubernetes.aio.client import ApiClient

from pannier_operator.certificates.issuing import Leaf, Unreadable, general_name
from pannier_operator.certificates.planning import Authorities, note_published, plan, plan_leaf
from pannier_operator.certificates.publishing import Publisher
from pannier_operator.certificates.secret import CertificateSecret
from pannier_operator.certificates.serving import load, server_context
from pannier_operator.cluster import API_ERRORS, said

LOOK_EVERY: Final = 15.0
"""Seconds between two looks at the Secret and the ConfigMaps: what somebody edits or deletes is put
right within it."""
RETRY: Final = 2.0
"""Seconds before it is tried again while there is no certificate."""

log = logging.getLogger("pannier.operator")


def service_names(service: str, namespace: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """The names a Service is dialed by, from within the cluster; `more` are added as they are."""
    name = f"{service}.{namespace}"
    return tuple(dict.fromkeys([f"{name}.svc", f"{name}.svc.cluster.local", name, *more]))


class Certificates:
    """What a server with the names of `names` needs, for as long as `run` runs."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        namespace: str,
        names: Sequence[str],
        may_write: Callable[[], bool],
        served: Callable[[], Iterable[str]],
        watched: Sequence[str] = (),
        look_every: float = LOOK_EVERY,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`namespace` holds the Secret. `may_write` says whether this operator leads. `served` are
        the namespaces whose sidecars are to know the CAs; `watched` those it has rights in, none:
        all. Raises ValueError for a name that no certificate can have."""
        self.context: Final[ssl.SSLContext] = server_context()
        """For every server of this operator; it follows what is renewed."""
        self.ready = asyncio.Event()
        """Set once there is a certificate to serve with."""
        self._names = tuple(names)
        for each in self._names:
            general_name(each)
        self._may_write = may_write
        self._served = served
        self._look_every = look_every
        self._wall = wall
        self._secret = CertificateSecret(api_client, namespace=namespace)
        self._publisher = Publisher(api_client, watched=watched, may_write=may_write)
        self._authorities: Authorities | None = None
        self._leaf: Leaf | None = None
        self._changed = asyncio.Event()
        self._trouble = ""

    @property
    def bundle(self) -> str:
        """The CAs that clients are to trust, in PEM; "" before it is ready. For webhooks too."""
        return self._authorities.bundle() if self._authorities is not None else ""

    def reasons(self) -> Iterator[str]:
        """Why this operator cannot serve with TLS yet."""
        if not self.ready.is_set():
            yield self._trouble or "there is no certificate yet"

    def changed(self) -> None:
        """The served namespaces, or who leads, may have changed: look at once."""
        self._changed.set()

    async def run(self) -> None:
        """Keep them until cancelled."""
        while True:
            self._changed.clear()
            await self._turn()
            pause = self._look_every if self.ready.is_set() else min(RETRY, self._look_every)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                    await self._changed.wait()

    async def _turn(self) -> None:
        """One look at everything; it never raises."""
        try:
            await self._follow()
            self._trouble = ""
        except Unreadable as error:
            self._complain(
                f"the Secret {self._secret} holds no CA that can be used: {error}. Bring it back "
                "from a backup; or delete it: an operator that still knows the CA writes it "
                "again, else a new one is made, which sidecars trust within two minutes"
            )
        except API_ERRORS as error:
            self._complain(f"the Secret {self._secret} could not be read or written: {said(error)}")
        if self._authorities is None:
            return
        # Also while the Secret cannot be read: a leaf must not run out for that.
        self._sign(self._authorities)
        if self._may_write():
            try:
                await self._publish(self._authorities)
            except API_ERRORS as error:
                log.warning("the CA could not be published: %s", said(error))

    async def _follow(self) -> None:
        """Take what the Secret says, or write what is due into it."""
        for _ in range(3):
            held = await self._secret.read()
            if held is None:
                # Deleted under us: what sidecars trust is written again, no new CA is made.
                due = plan(self._authorities, self._wall())
                is_due = True
            else:
                now = self._wall()
                due = plan(held, now)
                # One that has ended is everybody's to replace: nobody could serve without.
                may_write = self._may_write() or held.current.ends_at <= now
                is_due = due is not held and may_write
            if not is_due:
                assert held is not None
                self._authorities = held
                return
            if await self._secret.write(due):
                log.info("wrote the CAs into the Secret %s: %s", self._secret, _told(due))
                self._authorities = due
                return
            # Another replica was first: take what it wrote.

    def _sign(self, authorities: Authorities) -> None:
        leaf = plan_leaf(self._leaf, authorities.current, self._names, self._wall())
        if leaf is None or leaf is self._leaf:
            return
        load(self.context, leaf)
        self._leaf = leaf
        log.info(
            "serving a certificate until %s for %s",
            leaf.certificate.not_valid_after_utc.date(),
            ", ".join(leaf.names),
        )
        self.ready.set()

    async def _publish(self, authorities: Authorities) -> None:
        everywhere = await self._publisher.publish(authorities.bundle(), self._served())
        noted = note_published(authorities, self._wall())
        if everywhere and noted is not authorities and await self._secret.write(noted):
            self._authorities = noted
            log.info("the CA that follows is published; it signs after a day")

    def _complain(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            log.error("%s", text)


def _told(authorities: Authorities) -> str:
    following = ", one follows it" if authorities.following is not None else ""
    return f"one that signs until {authorities.current.ends_at.date()}{following}"
