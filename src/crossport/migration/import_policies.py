"""The import policy as a site's operator sets it: checked before it is kept, changed by one at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crossport import errors
from crossport.convert.inspection import Format
from crossport.migration.import_policy import POLICY, Trust
from crossport.model.import_policy import ImportPolicy, ImportPolicyRequest, KeptImportPolicy, Partner

__all__ = ["ImportPolicies"]

_FIELD = "policy"


@dataclass(frozen=True, slots=True)
class ImportPolicies:
    """Implements `crossport.spi.import_policy.ImportBook`, for the site that ``trust`` is about."""

    trust: Trust

    async def shown(self) -> KeptImportPolicy:
        """Return the policy that holds."""
        return await self.trust.kept()

    async def set(self, request: ImportPolicyRequest) -> KeptImportPolicy:
        """Check the policy, and let it hold."""
        await self._check(request.policy)
        trust, policy = self.trust, request.policy
        try:
            kept = await trust.documents.put(POLICY, trust.site, policy, generation=request.generation)
        except errors.Conflict as error:
            raise errors.Conflict(
                "import-policy.changed",
                f"The import policy is no longer the one of generation {request.generation}.",
                field="generation",
                remedy="See what it is now, and change that: crossport image policy show",
            ) from error
        return KeptImportPolicy(policy=kept.value, generation=kept.generation)

    async def reset(self) -> KeptImportPolicy:
        """Forget the policy that was set."""
        await self.trust.documents.delete(POLICY, self.trust.site)
        return await self.trust.kept()

    async def _check(self, policy: ImportPolicy) -> None:
        if policy.site != self.trust.site:
            raise _wrong("site", f"This site is {self.trust.site}; the policy is that of {policy.site}.")
        await self._check_partners(policy.partners)
        for field, words in _lists(policy):
            if twice := _twice(words):
                raise _wrong(field, f"{twice} is named twice.")
        if unknown := [form for form in policy.formats if form not in list(Format)]:
            known = ", ".join(Format)
            raise _wrong("formats", f"{unknown[0]} is no format of a disk; known are {known}.")

    async def _check_partners(self, partners: tuple[Partner, ...]) -> None:
        names = {self.trust.site, *await self.trust.names()}
        keys = {(key.site, key.id()) for key in (await self.trust.keyring()).keys}
        for number, one in enumerate(partners):
            if one.site not in names:
                text = f"{one.site} is neither this site nor a partner that it accepted."
                raise _wrong(f"partners.{number}.site", text)
            for key in one.keys:
                if (one.site, key) not in keys:
                    text = f"{key[:16]}… is no key of {one.site} that is known here."
                    raise _wrong(f"partners.{number}.keys", text)


def _lists(policy: ImportPolicy) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "partners", tuple(one.site for one in policy.partners)
    yield "required_checks", policy.required_checks
    yield "own_checks", policy.own_checks
    yield "formats", policy.formats


def _twice(words: Iterable[str]) -> str:
    seen = set[str]()
    return next((word for word in words if word in seen or seen.add(word)), "")


def _wrong(field: str, text: str) -> errors.Invalid:
    return errors.Invalid(
        "import-policy.field.wrong",
        text,
        field=f"{_FIELD}.{field}",
        remedy="Correct this field and set the policy again; the former one still holds.",
    )
