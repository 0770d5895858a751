"""What a site takes in, for its operator."""

from typing import Protocol

from crossport.model.import_policy import ImportPolicyRequest, KeptImportPolicy

__all__ = ["ImportBook"]


class ImportBook(Protocol):
    """The import policy of one site. What is set holds for every image that is admitted from then on."""

    async def shown(self) -> KeptImportPolicy:
        """Return the policy that holds. One that was never set admits what the site itself and its accepted
        partners sealed."""
        ...

    async def set(self, request: ImportPolicyRequest) -> KeptImportPolicy:
        """Let a policy hold in place of the former.

        Raise Invalid, with the field, for one that is another site's, names a site, key or format that is not
        known, or says something twice; Conflict ``import-policy.changed`` when another generation holds.
        """
        ...

    async def reset(self) -> KeptImportPolicy:
        """Let the policy hold that a site begins with, and return it. May be called again."""
        ...
