"""How sites become partners and cease to be: for the operator, and for the other site's control plane."""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from crossport import errors
from crossport.identity.partners import KeptPartners, is_known, require_trusted
from crossport.identity.tls import fingerprint
from crossport.model import codec
from crossport.model.name import seconds_of
from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    Compromise,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    Partner,
    PartnerInvitation,
    PartnerState,
    ShownPartner,
    TenantRule,
    Touched,
)
from crossport.model.record import record
from crossport.partner.badge import Badge, Shown
from crossport.partner.dialling import Dial
from crossport.partner.introduction import introduced
from crossport.partner.invitation import INVITED_S, LINE, Greeting, Invitation, proof, require_proven
from crossport.partner.link import HttpsLink
from crossport.partner.probe import Standards, probed, require_fit
from crossport.partner.reception import EXCHANGE
from crossport.partner.rounds import Rounds
from crossport.partner.watch import Watch
from crossport.partner.word import OwnWord
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents
from crossport.spi.secret import Secret
from crossport.spi.trust import Trace

__all__ = ["Means", "Office"]

_INVITED = "partner-invited"


@record()
class _Invited:
    """An invitation by its id. What it is proven with is derived from that, and kept nowhere."""

    partner: str
    expires: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class Means:
    """What the office works with. ``secret`` derives an invitation's secret from its id."""

    book: KeptPartners
    link: HttpsLink
    badge: Badge
    word: OwnWord
    rounds: Rounds
    watch: Watch
    documents: Callable[[], Documents]
    clock: Clock
    entropy: Callable[[int], bytes]
    secret: Callable[[str], bytes]
    standards: Standards = field(default_factory=Standards)


class Office:
    """A `crossport.spi.trust.Trust`. ``traces`` find what a partner had a part in."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.traces: list[Trace] = []

    async def invite(self, request: InviteRequest) -> PartnerInvitation:
        """Let one site exchange keys with this one, once."""
        means = self._means
        own = await means.word.introduction()
        if request.partner == own.site:
            raise errors.Invalid(
                "partner.name.own",
                f"{request.partner} is this site itself.",
                field="partner",
                remedy="Name the other site: its setting site_name.",
            )
        await self._require_unknown(request.partner)
        await self._forget_invited()
        id_, expires = means.entropy(16).hex(), means.clock.wall() + INVITED_S
        await means.documents().put(
            _INVITED, id_, _Invited(partner=request.partner, expires=expires), generation=0
        )
        lent = means.badge.lent(id_, INVITED_S)
        invitation = Invitation(
            id=id_,
            partner=request.partner,
            introduction=own,
            secret=base64.b64encode(means.secret(id_)).decode(),
            certificate=lent.certificate,
            key=lent.key.reveal(),
            expires=expires,
        )
        return PartnerInvitation(
            partner=request.partner,
            expires=expires,
            fingerprint=fingerprint(own.authorities[0]),
            invitation=LINE.packed(invitation),
        )

    async def met(self, id_: str, body: bytes) -> bytes:
        """Exchange keys with whoever holds the invitation ``id_``."""
        means = self._means
        kept = await self._invited(id_)
        # Whatever comes of it: nobody tries twice, and of two at once the second finds another generation.
        try:
            await means.documents().put(
                _INVITED, id_, replace(kept.value, used=True), generation=kept.generation
            )
        except errors.Conflict as error:
            raise _invitation("partner.invitation.used", "was used before") from error
        greeting = codec.decoded(body, Greeting)
        require_proven(means.secret(id_), id_, greeting, None)
        if greeting.introduction.site != kept.value.partner:
            raise _invitation(
                "partner.invitation.other",
                f"is for {kept.value.partner}, not for {greeting.introduction.site}",
            )
        own = await means.word.introduction()
        await means.book.add(introduced(greeting.introduction, means.clock.wall()))
        await means.watch.look()
        said = proof(means.secret(id_), id_, own, greeting.introduction)
        return codec.encoded(Greeting(introduction=own, proof=said)).encode()

    async def accept(self, request: AcceptRequest) -> ShownPartner:
        """Exchange keys with the site that wrote the invitation."""
        means = self._means
        invitation, own = LINE.unpacked(request.invitation), await means.word.introduction()
        if invitation.partner != own.site:
            raise _invitation(
                "partner.invitation.other", f"is for {invitation.partner}, and this site is {own.site}"
            )
        if invitation.expires <= means.clock.wall():
            raise _invitation("partner.invitation.expired", "has expired")
        theirs = introduced(invitation.introduction, means.clock.wall())
        await self._require_unknown(theirs.name)
        secret = base64.b64decode(invitation.secret)
        greeting = Greeting(introduction=own, proof=proof(secret, invitation.id, own, None))
        answer = await _exchanged(theirs, invitation, greeting)
        require_proven(secret, invitation.id, answer, own)
        said = introduced(answer.introduction, means.clock.wall())
        if (said.name, said.root, said.authorities) != (theirs.name, theirs.root, theirs.authorities):
            raise _invitation("partner.invitation.outdated", "is not what the site says of itself now")
        await means.book.add(said)
        await means.watch.look()
        return await self._shown(said)

    async def confirm(self, name: str, request: ConfirmRequest) -> ShownPartner:
        """Trust a site that exchanged keys, once the link was probed."""
        means = self._means
        partner = await means.book.known(name)
        if not is_known(partner):
            require_trusted(partner, 0.0)
        found = fingerprint(partner.authorities[0])
        if not hmac.compare_digest(found, request.fingerprint):
            raise errors.Refused(
                "partner.fingerprint.other",
                f"The authority of {name} has the fingerprint {found}.",
                field="fingerprint",
                remedy="If its operator sees another one, somebody between you answered: revoke it, and find "
                "out who. Otherwise write the whole of it.",
            )
        # Under its authority it says the same root again, which the exchange alone does not show.
        partner = await means.rounds.ask(partner)
        figures = await probed(means.link, partner, means.clock)
        require_fit(name, figures, means.standards)
        return await self._changed(
            name, lambda known: replace(known, state=PartnerState.ACCEPTED, link=figures)
        )

    async def shown(self) -> tuple[ShownPartner, ...]:
        """Return all, by name."""
        return tuple([await self._shown(one) for one in await self._means.book.partners()])

    async def show(self, name: str) -> ShownPartner:
        """Return one in whatever state."""
        return await self._shown(await self._means.book.known(name))

    async def allow(self, name: str, rule: TenantRule) -> ShownPartner:
        """Let a tenant of the partner act here as one of ours."""

        def change(known: Partner) -> Partner:
            others = tuple(one for one in known.tenants if one.theirs != rule.theirs)
            return replace(known, tenants=tuple(sorted((*others, rule), key=lambda one: one.theirs)))

        return await self._changed(name, change)

    async def disallow(self, name: str, theirs: str) -> ShownPartner:
        """Let a tenant of the partner act here no longer."""
        known = await self._means.book.known(name)
        if not any(rule.theirs == theirs for rule in known.tenants):
            raise errors.NotFound(
                "partner.tenant.unknown",
                f"No tenant {theirs} of {name} may act here.",
                field="theirs",
                remedy=f"See `crossport trust show {name}`.",
            )
        return await self._changed(
            name,
            lambda known: replace(known, tenants=tuple(r for r in known.tenants if r.theirs != theirs)),
        )

    async def revoke(self, name: str) -> ShownPartner:
        """Trust a partner no longer and end its connections."""
        return await self._changed(name, _revoked)

    async def compromise(self, name: str, request: CompromiseRequest) -> Compromise:
        """Do the same because its keys were in other hands."""
        since = seconds_of(request.since)
        await self._changed(
            name, lambda known: replace(known, state=PartnerState.COMPROMISED, compromised=since)
        )
        found: list[Touched] = []
        for trace in self.traces:
            found += await trace(name, since)
        return Compromise(
            partner=name, since=since, touched=tuple(sorted(found, key=lambda one: (one.at, one.id)))
        )

    async def forget(self, name: str) -> None:
        """Keep nothing of a site that is not trusted."""
        if (await self._means.book.known(name)).state is PartnerState.ACCEPTED:
            raise errors.Conflict(
                "partner.trusted",
                f"{name} is a partner.",
                field="partner",
                remedy=f"Revoke it first: crossport trust revoke {name}.",
            )
        await self._means.book.forget(name)
        await self._means.watch.look()

    async def rotate(self, request: AuthorityRequest) -> tuple[ShownPartner, ...]:
        """Make a new authority for the link and tell it to all partners."""
        rounds = self._means.rounds
        told = await (rounds.replace() if request.revoke else rounds.rotate())
        await self._means.watch.look()
        return tuple([await self.show(name) for name in told])

    async def _changed(self, name: str, change: Callable[[Partner], Partner]) -> ShownPartner:
        changed = await self._means.book.change(name, change)
        await self._means.watch.look()
        return await self._shown(changed)

    async def _shown(self, partner: Partner) -> ShownPartner:
        return ShownPartner(
            fingerprint=fingerprint(partner.authorities[0]),
            own_fingerprint=fingerprint(self._means.badge.issuer.authority_pem),
            partner=partner,
        )

    async def _require_unknown(self, name: str) -> None:
        if any(one.name == name for one in await self._means.book.partners()):
            raise errors.Conflict(
                "partner.known",
                f"{name} is known to this site already.",
                field="partner",
                remedy=f"See `crossport trust show {name}`. To begin anew, first: "
                f"crossport trust forget {name}.",
            )

    async def _invited(self, id_: str) -> Document[_Invited]:
        try:
            kept = await self._means.documents().fetch(_INVITED, id_, _Invited)
        except errors.NotFound as error:
            raise _invitation("partner.invitation.unknown", "is not one of this site") from error
        if kept.value.used:
            raise _invitation("partner.invitation.used", "was used before")
        if kept.value.expires <= self._means.clock.wall():
            raise _invitation("partner.invitation.expired", "has expired")
        return kept

    async def _forget_invited(self) -> None:
        # One that was used is kept as long as it could be tried again, to say so.
        for one in await self._means.documents().list(_INVITED, _Invited):
            if one.value.expires + INVITED_S < self._means.clock.wall():
                await self._means.documents().delete(_INVITED, one.key)


async def _exchanged(theirs: Partner, invitation: Invitation, greeting: Greeting) -> Greeting:
    shown = Shown(invitation.certificate, Secret(invitation.key), invitation.expires)
    dial = Dial(theirs.name, theirs.address, theirs.authorities, shown)
    try:
        answer = await dial.post(EXCHANGE, codec.encoded(greeting).encode())
    finally:
        await dial.close()
    return codec.decoded(answer, Greeting)


def _revoked(known: Partner) -> Partner:
    return known if known.state is PartnerState.COMPROMISED else replace(known, state=PartnerState.REVOKED)


def _invitation(code: str, words: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The invitation {words}.",
        field="invitation",
        remedy="Ask for another one: it is good once, for ten minutes, and for the site that it names.",
    )
