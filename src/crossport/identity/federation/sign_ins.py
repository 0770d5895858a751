"""Who is still signed in at a provider, asked there while runs go on by the right of a sign-in.

For that the token that somebody last exchanged is kept, sealed under the site's master key, until it ends.
The provider is shown it again, and nobody else. When it ends nothing can be asked any more, and the grant
alone bounds the run, unless a newer one is exchanged.
"""

import asyncio
import hashlib
from collections.abc import Iterable

import structlog

from crossport import errors
from crossport.identity.federation.claims import SKEW_S
from crossport.identity.federation.introspection import Introspection
from crossport.model.federation import Provider, Subject
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents
from crossport.spi.secret import Secret, Secrets

__all__ = ["SignIns"]

KIND = "sign-in"
_log = structlog.get_logger("crossport.sign-ins")


@record()
class SignedIn:
    """Somebody's last sign-in: by a token of ``provider`` that lives ``until`` (Unix seconds).

    ``ended``: the provider said that it does not count any more, before its time.
    """

    subject: Subject
    provider: str
    until: float
    ended: bool = False


class SignIns:
    """Keeps the last sign-in of each subject of providers that can be asked, and asks them."""

    def __init__(
        self, documents: Documents, secrets: Secrets, introspection: Introspection, clock: Clock
    ) -> None:
        self._documents = documents
        self._secrets = secrets
        self._introspection = introspection
        self._clock = clock

    async def note(self, provider: Provider, subject: Subject, token: str, until: float) -> None:
        """Keep that ``subject`` showed a token, good ``until`` then, if its provider can be asked."""
        await self._forget()
        if not provider.introspector:
            return
        key = _key(subject)
        await self._secrets.put(_reference(key), Secret(token))
        signed_in = SignedIn(subject=subject, provider=provider.name, until=until)
        await self._documents.put(KIND, key, signed_in)

    async def ended(self, subjects: Iterable[Subject], providers: tuple[Provider, ...]) -> frozenset[Subject]:
        """Return whose sign-in their provider ended. Who cannot be asked about is not among them."""
        by_name = {each.name: each for each in providers if each.introspector}
        told = await asyncio.gather(*(self._is_ended(each, by_name) for each in set(subjects)))
        return frozenset(each for each in told if each)

    async def _is_ended(self, subject: Subject, providers: dict[str, Provider]) -> Subject | None:
        try:
            kept = await self._documents.fetch(KIND, _key(subject), SignedIn)
        except errors.NotFound:
            return None
        if kept.value.ended:
            return subject
        provider = providers.get(kept.value.provider)
        # Near its end a token may be over by the provider's clock already.
        if provider is None or kept.value.until - SKEW_S <= self._clock.wall():
            return None
        try:
            return subject if await self._asked(kept, provider) else None
        except errors.Error as error:  # what is not known takes nobody's right; the grant bounds it
            _log.warning("sign-in.unasked", provider=provider.name, code=error.code, reason=error.text)
            return None

    async def _asked(self, kept: Document[SignedIn], provider: Provider) -> bool:
        """Ask once, and keep that the sign-in ended. What was exchanged meanwhile is asked next."""
        token = await self._secrets.fetch(_reference(kept.key))
        if await self._introspection.told(provider, token.reveal()):
            return False
        value = kept.value
        over = SignedIn(subject=value.subject, provider=value.provider, until=value.until, ended=True)
        try:
            await self._documents.put(KIND, kept.key, over, generation=kept.generation)
        except errors.Conflict:
            return False
        return True

    async def _forget(self) -> None:
        """Forget sign-ins that are over by their time, and their tokens."""
        after = ""
        while batch := await self._documents.list(KIND, SignedIn, after=after):
            for each in batch:
                if each.value.until <= self._clock.wall():
                    await self._drop(each)
            after = batch[-1].key

    async def _drop(self, each: Document[SignedIn]) -> None:
        try:
            await self._documents.delete(KIND, each.key, generation=each.generation)
        except errors.Conflict:  # somebody signed in again just now
            return
        await self._secrets.forget(_reference(each.key))


def _key(subject: Subject) -> str:
    return hashlib.sha256(f"{subject.issuer}\n{subject.sub}".encode()).hexdigest()[:32]


def _reference(key: str) -> str:
    return f"sign-in/{key}"
