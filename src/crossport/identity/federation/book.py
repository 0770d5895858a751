"""The providers and trust rules that an operator gave the site, kept as documents."""

from typing import TypeVar

from crossport import errors
from crossport.identity.federation.introspection import Introspection
from crossport.identity.federation.provider_keys import discovered
from crossport.model.federation import Provider, TrustRule
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.secret import Secret, Secrets
from crossport.spi.web import Web

__all__ = ["FederationBook"]

T = TypeVar("T", Provider, TrustRule)

PROVIDER, RULE = "identity-provider", "trust-rule"


class FederationBook:
    """Adds, lists and removes providers and rules. What is removed counts for nothing from then on."""

    def __init__(self, documents: Documents, web: Web, secrets: Secrets, clock: Clock) -> None:
        self.documents = documents
        self.secrets = secrets
        self.introspection = Introspection(web, secrets, clock)
        self._web = web

    async def providers(self) -> tuple[Provider, ...]:
        """Return all providers by name."""
        return await self._all(PROVIDER, Provider)

    async def rules(self) -> tuple[TrustRule, ...]:
        """Return all rules by name, which is the order in which they are asked."""
        return await self._all(RULE, TrustRule)

    async def add_provider(self, provider: Provider, secret: str = "") -> Provider:
        """Believe ``provider``, once it answered with its keys, and to the ``secret`` of its introspector.

        Raise Conflict when its name or issuer is taken, Invalid and Refused for one that is no good provider.
        """
        for each in await self.providers():
            for what in ("issuer", "name"):
                if getattr(each, what) == getattr(provider, what):
                    raise _taken(what, getattr(provider, what))
        if bool(secret) != bool(provider.introspector):
            raise errors.Invalid(
                "identity.introspection.half",
                "To ask a provider takes both a client's name there, and its secret.",
                field="introspector" if secret else "secret",
                remedy="Give both, or none: the options --introspect-as and --secret-file.",
            )
        await self._look(provider)
        if provider.introspector:
            await self.introspection.begin(provider, Secret(secret))
        await self._keep(PROVIDER, provider.name, provider)
        return provider

    async def add_rule(self, rule: TrustRule) -> TrustRule:
        """Let ``rule`` hold. Raise NotFound for a provider that is not there, Conflict for a name that is."""
        if rule.provider not in {each.name for each in await self.providers()}:
            raise _unknown_provider(rule.provider)
        await self._keep(RULE, rule.name, rule)
        return rule

    async def remove_provider(self, name: str) -> None:
        """Believe the provider no longer. Raise Conflict while rules name it, NotFound."""
        used = [rule.name for rule in await self.rules() if rule.provider == name]
        if used:
            raise errors.Conflict(
                "identity.provider.used",
                f"The rule {used[0]} names the provider {name}.",
                field="provider",
                remedy=f"Remove it first: `crossport identity rule remove {used[0]}`.",
            )
        if not await self.documents.delete(PROVIDER, name):
            raise _unknown_provider(name)
        await self.introspection.end(name)

    async def remove_rule(self, name: str) -> None:
        """Let the rule hold no longer. Raise NotFound."""
        if not await self.documents.delete(RULE, name):
            raise errors.NotFound(
                "identity.rule.unknown",
                f"There is no trust rule {name}.",
                field="rule",
                remedy="See `crossport identity rule list`.",
            )

    async def _look(self, provider: Provider) -> None:
        try:
            await discovered(provider.issuer, self._web)
        except errors.Unavailable as error:
            raise errors.Invalid(
                "identity.provider.silent",
                f"{provider.issuer[:200]} does not answer as a provider: {error.text}",
                field="issuer",
                remedy="Correct the issuer, or let this site reach it, and add it again.",
            ) from error

    async def _keep(self, kind: str, name: str, value: Provider | TrustRule) -> None:
        try:
            await self.documents.put(kind, name, value, generation=0)
        except errors.Conflict as error:
            raise _taken("name", name) from error

    async def _all(self, kind: str, type_: type[T]) -> tuple[T, ...]:
        found: list[T] = []
        after = ""
        while batch := await self.documents.list(kind, type_, after=after):
            found += [each.value for each in batch]
            after = batch[-1].key
        return tuple(found)


def _taken(what: str, value: str) -> errors.Conflict:
    return errors.Conflict(
        "identity.name.taken",
        f"The {what} {value} is taken.",
        field=what,
        remedy="Remove what has it first, or choose another one.",
    )


def _unknown_provider(name: str) -> errors.NotFound:
    return errors.NotFound(
        "identity.provider.unknown",
        f"There is no identity provider {name}.",
        field="provider",
        remedy="See `crossport identity provider list`.",
    )
