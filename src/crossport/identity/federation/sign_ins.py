"""Who is still signed in at a provider, asked there while runs go on by the right of a sign-in.

For that the token that somebody last exchanged is kept, sealed under the site's master key, until it ends.
The provider is shown it again, and nobody else. When it ends nothing can be asked any more, and the grant
alone bounds the run, unless a newer one is exchanged.

Several nodes of a site may note and drop at once. So each sign-in has a document and a secret of its own, by
a name that is used once: whoever drops one can hit no other, and the newest of a subject is what counts.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

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
_NAME_SIZE = 8
_log = structlog.get_logger("crossport.sign-ins")


@record()
class SignedIn:
    """A sign-in of somebody: by a token of ``provider`` that lives ``until`` (Unix seconds), ``noted`` then.

    ``ended``: the provider said that it does not count any more, before its time.
    """

    subject: Subject
    provider: str
    until: float
    ended: bool = False
    noted: float = 0.0


class SignIns:
    """Keeps the last sign-in of each subject of providers that can be asked, and asks them.

    ``entropy`` returns that many unpredictable bytes.
    """

    def __init__(
        self,
        documents: Documents,
        secrets: Secrets,
        introspection: Introspection,
        clock: Clock,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._documents = documents
        self._secrets = secrets
        self._introspection = introspection
        self._clock = clock
        self._entropy = entropy

    async def note(self, provider: Provider, subject: Subject, token: str, until: float) -> None:
        """Keep that ``subject`` showed a token, good ``until`` then, if its provider can be asked."""
        await self._forget()
        if not provider.introspector:
            return
        key = f"{_key(subject)}/{self._entropy(_NAME_SIZE).hex()}"
        await self._secrets.put(_reference(key), Secret(token))
        signed_in = SignedIn(subject=subject, provider=provider.name, until=until, noted=self._clock.wall())
        await self._documents.put(KIND, key, signed_in, generation=0)
        for older in (await self._of(subject))[:-1]:  # it may be this one, if another was quicker
            await self._drop(older)

    async def _of(self, subject: Subject) -> list[Document[SignedIn]]:
        """Return the sign-ins of ``subject``, the newest last. All nodes see the same one as that."""
        found = await self._documents.list(KIND, SignedIn, prefix=_key(subject))
        return sorted(found, key=lambda each: (each.value.noted, each.key))

    async def ended(self, subjects: Iterable[Subject], providers: tuple[Provider, ...]) -> frozenset[Subject]:
        """Return whose sign-in their provider ended. Who cannot be asked about is not among them."""
        by_name = {each.name: each for each in providers if each.introspector}
        told = await asyncio.gather(*(self._is_ended(each, by_name) for each in set(subjects)))
        return frozenset(each for each in told if each)

    async def _is_ended(self, subject: Subject, providers: dict[str, Provider]) -> Subject | None:
        found = await self._of(subject)
        if not found:
            return None
        kept = found[-1]
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
        over = replace(kept.value, ended=True)
        try:
            await self._documents.put(KIND, kept.key, over, generation=kept.generation)
        except errors.Conflict:
            return False
        found = await self._of(kept.value.subject)
        return bool(found) and found[-1].key == kept.key

    async def _forget(self) -> None:
        """Forget sign-ins that are over by their time, and their tokens."""
        after = ""
        while batch := await self._documents.list(KIND, SignedIn, after=after):
            for each in batch:
                if each.value.until <= self._clock.wall():
                    await self._drop(each)
            after = batch[-1].key

    async def _drop(self, each: Document[SignedIn]) -> None:
        """Forget the token first: what a document names still is dropped again, if this ends halfway."""
        await self._secrets.forget(_reference(each.key))
        await self._documents.delete(KIND, each.key)


def _key(subject: Subject) -> str:
    return hashlib.sha256(f"{subject.issuer}\n{subject.sub}".encode()).hexdigest()[:32]


def _reference(key: str) -> str:
    return f"sign-in/{key}"
