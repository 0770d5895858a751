"""Who signs what a site states to its partners."""

from typing import Protocol

from crossport.model.permit import SignedStatement, Stated

__all__ = ["StatementSigner"]


class StatementSigner(Protocol):
    """The site's key of the role permit."""

    async def ready(self) -> None:
        """Raise Conflict ``key.signer.elsewhere`` where only another node of the site can sign."""
        ...

    async def sign(self, stated: Stated) -> SignedStatement:
        """Return the statement, signed. The same one may be signed again.

        Raise Refused for a statement of another site, Unavailable when the signer does not answer.
        """
        ...
