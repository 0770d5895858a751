"""Heads of audit logs, signed and countersigned by this node's signer."""

from crossport import errors
from crossport.audit.head import head_of
from crossport.identity.signing.keeper import Asked
from crossport.identity.signing.question import AskHead
from crossport.model import codec
from crossport.model.head import Head, SignedHead
from crossport.spi.audit import Since

__all__ = ["KeptHeads"]


class KeptHeads:
    """A `crossport.spi.audit.HeadSigner`."""

    def __init__(self, keeper: Asked) -> None:
        self._keeper = keeper

    async def sign(self, head: Head, since: int, proof: Since) -> SignedHead:
        """Return the head, signed by the site, or countersigned when it is of another."""
        answer: SignedHead | None = None
        for _ in range(2):
            hashes = await proof(since)
            if hashes is None and answer:
                return answer
            asked = AskHead(head=head, since=since, proof=hashes or ())
            answer = codec.decoded(await self._keeper.ask(asked), SignedHead)
            told = head_of(answer)[0]
            if (told.size, told.root) == (head.size, head.root):
                return answer
            since = told.size
            if since > head.size:
                break
        raise errors.Refused(
            "audit.head.smaller",
            f"The audit log of {head.site} has {head.size} records; {since} were signed before: it was cut.",
            remedy="Export the log and check it with the heads that partners keep: crossport audit verify",
        )
