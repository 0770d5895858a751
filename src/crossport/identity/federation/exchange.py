"""Exchanged tokens (RFC 8693): for this site alone, of one subject, bound to a key, for minutes.

They are opaque and kept as a hash, like the site's own tokens: nobody else has to read them, one can be made
worthless at once, and no key of the site signs them. They end with the rule that let their subject in.
"""

from collections.abc import Callable
from typing import TypeAlias

from crossport import errors
from crossport.identity import token as secret_text
from crossport.identity.federation.admission import Admission
from crossport.identity.federation.book import FederationBook
from crossport.model import codec
from crossport.model.federation import Ceilings, Details, Subject, TrustRule
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret

__all__ = ["Exchanged", "ExchangedTokens", "asked_ceilings"]

KIND = "exchanged-token"
LIFE_S = 600.0
ID_SIZE = 16
DETAILS = "crossport-migration"
_Listed: TypeAlias = tuple[Details, ...]


@record()
class Exchanged:
    """An exchanged token as it is kept. ``key`` is the thumbprint of the key that its sender must have."""

    id: str
    digest: str
    subject: Subject
    rule: TrustRule
    ceilings: Ceilings
    key: str
    expires: float


class ExchangedTokens:
    """Issues exchanged tokens, and finds them again. ``entropy`` returns that many unpredictable bytes."""

    def __init__(self, book: FederationBook, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self._documents = book.documents
        self._book = book
        self._clock = clock
        self._entropy = entropy

    async def issue(self, admission: Admission, ceilings: Ceilings, key: str) -> tuple[Exchanged, Secret]:
        """Return a new token for whom ``admission`` let in, and its text. It ends with the one it is for."""
        now = self._clock.wall()
        await self._forget(now)
        secret = secret_text.generate(self._entropy)
        digest = secret_text.hashed(secret)
        token = Exchanged(
            id=digest[:ID_SIZE],
            digest=digest,
            subject=admission.subject,
            rule=admission.rule,
            ceilings=ceilings,
            key=key,
            expires=min(now + LIFE_S, admission.until),
        )
        await self._documents.put(KIND, token.id, token, generation=0)
        return token, secret

    async def found(self, text: str) -> Exchanged | None:
        """Return the token with this text, None when there is none.

        Raise Refused when it has expired, or its subject is not let in any more as it was.
        """
        try:
            secret = secret_text.parse(text)
        except errors.Refused:
            return None  # none has this form
        try:
            token = (await self._documents.fetch(KIND, secret_text.hashed(secret)[:ID_SIZE], Exchanged)).value
        except errors.NotFound:
            return None
        if not secret_text.matches(secret, token.digest):
            return None
        if token.expires <= self._clock.wall():
            raise errors.Refused(
                "identity.exchanged.expired",
                "The token has expired: exchanged tokens live for ten minutes at most.",
                field="Authorization",
                remedy="Exchange your provider's token again.",
            )
        if token.rule not in await self._book.rules():
            raise errors.Refused(
                "identity.exchanged.ended",
                f"The rule {token.rule.name}, by which this token was issued, holds no longer.",
                field="Authorization",
                remedy="Exchange your provider's token again, if another rule lets you in.",
            )
        return token

    async def _forget(self, now: float) -> None:
        """Forget tokens that expired."""
        after = ""
        while batch := await self._documents.list(KIND, Exchanged, after=after):
            for each in batch:
                if each.value.expires <= now - LIFE_S:
                    await self._documents.delete(KIND, each.key)
            after = batch[-1].key


def asked_ceilings(text: str, rule: TrustRule) -> Ceilings:
    """Return the ceilings of authorization details (RFC 9396), within those of ``rule``.

    Empty are those of the rule. Raise Refused for details that ask for more, or that are none of ours.
    """
    if not text:
        return rule.ceilings
    try:
        (details,) = codec.decoded(text, _Listed)
    except (ValueError, errors.Invalid) as error:
        raise errors.Refused(
            "identity.exchange.details",
            f"The authorization details are not one object of the type {DETAILS}.",
            field="authorization_details",
            remedy='Write for instance [{"type": "crossport-migration", "clouds": ["beta"]}].',
        ) from error
    bounds = rule.ceilings
    return Ceilings(
        clouds=_narrowed("clouds", details.clouds, bounds.clouds),
        vms=_narrowed("vms", details.vms, bounds.vms),
        runs=_narrowed("runs", details.runs, bounds.runs),
        projects=_narrowed("projects", details.projects, bounds.projects),
    )


def _narrowed(what: str, asked: tuple[str, ...], bound: tuple[str, ...]) -> tuple[str, ...]:
    beyond = [each for each in asked if bound and each not in bound]
    if beyond:
        raise errors.Refused(
            "identity.exchange.beyond",
            f"The rule that lets you in does not allow {beyond[0][:80]}.",
            field=f"authorization_details.{what}",
            remedy=f"Ask for some of: {', '.join(bound)}.",
        )
    return asked or bound
