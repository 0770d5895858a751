"""The site's book of its gateways: who may join, who joined, whose certificate is good, who leaves.

Kept in the site's documents, so that all nodes of a site agree. What is secret is kept as a hash.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from crossport import errors
from crossport.gateway.join import Invitation, Nodes, packed
from crossport.gateway.keeping import Keeping
from crossport.gateway.trust import GATEWAY
from crossport.identity import token as secret_text
from crossport.identity.tls import fingerprint
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["Authority", "Entry", "Means", "Office", "Signed", "shown"]

_GATEWAYS, _INVITED, _NODES = "gateway", "gateway-invited", "gateway-node"
INVITED_S = 600.0
"""How long somebody may join after enrolling."""
LIFETIME_S = 30 * 86400.0
"""How long a gateway's certificate is good; it renews it at half of it."""
_FORGOTTEN_S = 30 * 86400.0
_KNOWN = 2
"""The certificates of one gateway that are good at once: one may be lost on its way."""


class Signed(Protocol):
    """A certificate as PEM, good until ``expires`` (Unix seconds)."""

    @property
    def certificate_pem(self) -> str: ...
    @property
    def expires(self) -> float: ...


class Authority(Protocol):
    """The site's authority: ``identity.SiteIdentity``."""

    site: str

    @property
    def authority_pem(self) -> str:
        """Its certificate."""
        ...

    def certify(self, request_pem: str, role: str, name: str, *, lifetime_s: float) -> Signed:
        """Return a certificate for the key in the request. Raise Invalid for a request that is none."""
        ...


@record()
class Entry:
    """A gateway as the book has it. ``fingerprints`` are those of its good certificates, newest last."""

    id: str
    tenant: str
    cloud: str
    subnet: str
    joined: float
    expires: float
    fingerprints: tuple[str, ...]
    draining: bool = False
    release: str = ""

    def sits(self, tenant: str, cloud: str, subnet: str) -> bool:
        """Say whether this is a gateway of that seat."""
        return (self.tenant, self.cloud, self.subnet) == (tenant, cloud, subnet)

    def require_of(self, cloud: str) -> None:
        """Raise Refused (``signer.claim.cloud``) where it is the gateway of another cloud; empty is any."""
        if cloud not in ("", self.cloud):
            raise errors.Refused(
                "signer.claim.cloud",
                f"Gateway {self.id} is one of {self.cloud}; what it claims is of {cloud}.",
                remedy="Nothing was signed or opened. Look at that gateway, and at who hands out its word.",
            )


@record()
class _Invited:
    tenant: str
    cloud: str
    subnet: str
    gateway: str
    digest: str
    expires: float
    used: bool = False


@record()
class _Node:
    addresses: tuple[str, ...]
    seen: float


@dataclass(frozen=True, slots=True)
class Means:
    """What the office works with. ``documents`` is asked at each use: the site opens them late."""

    documents: Callable[[], Documents]
    authority: Authority
    clock: Clock
    entropy: Callable[[int], bytes]


class Office:
    """Keeps the book, and in ``keeping`` the ledger of journals."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.keeping = Keeping(means.documents)

    @property
    def authority(self) -> Authority:
        """Who vouches for the site and its gateways."""
        return self._means.authority

    @property
    def clock(self) -> Clock:
        """The site's time."""
        return self._means.clock

    async def invite(self, tenant: str, request: EnrollRequest) -> Enrolment:
        """Let one gateway join a seat, once, for `INVITED_S`."""
        nodes = await self.nodes()
        if not any(nodes.values()):
            raise errors.Conflict(
                "gateway.site.closed",
                "This site does not listen for gateways.",
                field="gateway_listen",
                remedy="Set gateway_listen to HOST:PORT and start the server again.",
            )
        await self._forget_invited()
        token = secret_text.generate(self._means.entropy)
        digest = secret_text.hashed(token)
        expires = self._means.clock.wall() + INVITED_S
        invited = _Invited(
            tenant=tenant,
            cloud=request.cloud,
            subnet=request.subnet,
            gateway=f"gw-{self._means.entropy(6).hex()}",
            digest=digest,
            expires=expires,
        )
        await self._documents.put(_INVITED, invited.gateway, invited, generation=0)
        authority = self.authority
        invitation = Invitation(
            gateway=invited.gateway,
            site=authority.site,
            authority=authority.authority_pem,
            token=token.reveal(),
            nodes=nodes,
        )
        return Enrolment(
            gateway=invited.gateway,
            cloud=request.cloud,
            subnet=request.subnet,
            expires=expires,
            fingerprint=fingerprint(authority.authority_pem),
            join=packed(invitation),
        )

    async def join(self, gateway: str, token: str, request_pem: str, release: str) -> Signed:
        """Take a gateway in and return its certificate; raise Refused for a token that is not good."""
        kept = await self._invited(gateway, token)
        # Two that come at once with one token: the second finds another generation.
        try:
            used = replace(kept.value, used=True)
            await self._documents.put(_INVITED, gateway, used, generation=kept.generation)
        except errors.Conflict as error:
            raise _token("gateway.token.used", "was used before") from error
        signed = self._certified(gateway, request_pem)
        entry = Entry(
            id=gateway,
            tenant=kept.value.tenant,
            cloud=kept.value.cloud,
            subnet=kept.value.subnet,
            joined=self._means.clock.wall(),
            expires=signed.expires,
            fingerprints=(fingerprint(signed.certificate_pem),),
            release=release,
        )
        await self._documents.put(_GATEWAYS, gateway, entry, generation=0)
        return signed

    async def admitted(self, gateway: str, shown: str) -> Entry:
        """Return the gateway whose certificate has the fingerprint ``shown``; raise Refused."""
        entry = await self._entry(gateway)
        if entry is None or shown not in entry.value.fingerprints:
            raise errors.Refused(
                "gateway.removed",
                f"Gateway {gateway} is not trusted by this site: it was removed, or never joined.",
                remedy="Enroll it again if it should be.",
            )
        return entry.value

    async def renewed(self, gateway: str, request_pem: str, release: str) -> Signed:
        """Return a new certificate for a gateway that was admitted; the one it has stays good."""
        signed = self._certified(gateway, request_pem)
        fresh = fingerprint(signed.certificate_pem)

        def change(entry: Entry) -> Entry:
            good = (*entry.fingerprints, fresh)[-_KNOWN:]
            return replace(entry, fingerprints=good, expires=signed.expires, release=release)

        await self._changed(gateway, change)
        return signed

    async def entries(self, tenant: str | None = None) -> tuple[Entry, ...]:
        """Return the gateways of one tenant, or all, by id."""
        found: list[Entry] = []
        after = ""
        while batch := await self._documents.list(_GATEWAYS, Entry, after=after):
            found += [one.value for one in batch if tenant in (None, one.value.tenant)]
            after = batch[-1].key
        return tuple(found)

    async def lists(self, gateway: str) -> bool:
        """Say whether a gateway joined and was not removed since."""
        return await self._entry(gateway) is not None

    async def entry(self, tenant: str, gateway: str) -> Entry:
        """Return one; raise NotFound (``gateway.unknown``)."""
        found = await self._entry(gateway)
        if found is None or found.value.tenant != tenant:
            raise errors.NotFound(
                "gateway.unknown",
                f"There is no gateway {gateway}.",
                field="gateway",
                remedy="See `crossport gateway list`.",
            )
        return found.value

    async def drain(self, tenant: str, gateway: str) -> Entry:
        """Mark it so that it begins nothing new."""
        await self.entry(tenant, gateway)
        return await self._changed(gateway, lambda entry: replace(entry, draining=True))

    async def remove(self, tenant: str, gateway: str) -> None:
        """Trust it no longer."""
        await self.entry(tenant, gateway)
        await self._documents.delete(_GATEWAYS, gateway)
        await self.keeping.left(gateway)

    async def listening(self, node: str, addresses: tuple[str, ...]) -> None:
        """Note where a node is reached by gateways. To be said again now and then."""
        await self._documents.put(_NODES, node, _Node(addresses=addresses, seen=self._means.clock.wall()))

    async def nodes(self) -> Nodes:
        """Return the site's nodes with their addresses, but for those that were not seen for a month."""
        since = self._means.clock.wall() - _FORGOTTEN_S
        found = await self._documents.list(_NODES, _Node)
        return {one.key: one.value.addresses for one in found if one.value.seen > since}

    @property
    def _documents(self) -> Documents:
        return self._means.documents()

    async def _invited(self, gateway: str, token: str) -> Document[_Invited]:
        try:
            secret = secret_text.parse(token)
            kept = await self._documents.fetch(_INVITED, gateway, _Invited)
        except (errors.NotFound, errors.Refused) as error:
            raise _token("gateway.token.unknown", "is not one of this site") from error
        if not secret_text.matches(secret, kept.value.digest):
            raise _token("gateway.token.unknown", "is not one of this site")
        if kept.value.used:
            raise _token("gateway.token.used", "was used before")
        if kept.value.expires <= self._means.clock.wall():
            raise _token("gateway.token.expired", "has expired")
        return kept

    async def _forget_invited(self) -> None:
        # One that was used is kept as long as it could be tried again, to say so.
        for one in await self._documents.list(_INVITED, _Invited):
            if one.value.expires + INVITED_S < self._means.clock.wall():
                await self._documents.delete(_INVITED, one.key)

    def _certified(self, gateway: str, request_pem: str) -> Signed:
        return self.authority.certify(request_pem, GATEWAY, gateway, lifetime_s=LIFETIME_S)

    async def _entry(self, gateway: str) -> Document[Entry] | None:
        try:
            return await self._documents.fetch(_GATEWAYS, gateway, Entry)
        except errors.NotFound:
            return None

    async def _changed(self, gateway: str, change: Callable[[Entry], Entry]) -> Entry:
        """Change an entry, again where somebody else did at the same moment."""
        while True:
            kept = await self._documents.fetch(_GATEWAYS, gateway, Entry)
            try:
                put = change(kept.value)
                await self._documents.put(_GATEWAYS, gateway, put, generation=kept.generation)
            except errors.Conflict:
                continue
            return put


def shown(entry: Entry, *, connected: bool, jobs: int) -> Gateway:
    """Return the gateway as people see it."""
    return Gateway(
        id=entry.id,
        cloud=entry.cloud,
        subnet=entry.subnet,
        joined=entry.joined,
        expires=entry.expires,
        draining=entry.draining,
        connected=connected,
        release=entry.release,
        jobs=jobs,
    )


def _token(code: str, words: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The token to join with {words}.",
        remedy="Enroll again: a token is good once and for ten minutes.",
    )
