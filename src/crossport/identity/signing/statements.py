"""What the control plane states to partners, signed by this node's signer."""

import base64

from crossport.identity import statement as statements
from crossport.identity.signing.question import AskStatement
from crossport.identity.site_keys import KeptKeys
from crossport.model import codec
from crossport.model.permit import SignedStatement, Stated

__all__ = ["KeptStatements"]


class KeptStatements:
    """A `crossport.spi.statement.StatementSigner`."""

    def __init__(self, keeper: KeptKeys) -> None:
        self._keeper = keeper

    async def ready(self) -> None:
        """Raise Conflict ``key.signer.elsewhere`` where another node has the signer that counts."""
        await self._keeper.ready()

    async def sign(self, stated: Stated) -> SignedStatement:
        """Return the statement, signed."""
        payload = base64.b64encode(statements.payload_of(stated)).decode()
        return codec.decoded(await self._keeper.ask(AskStatement(payload=payload)), SignedStatement)
