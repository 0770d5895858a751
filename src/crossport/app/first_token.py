"""The first token: made when a site starts for the first time, for whoever may read its state directory."""

from pathlib import Path

from crossport.api import Tokens
from crossport.identity import private_file
from crossport.model.access import Right, Role, TokenRequest

__all__ = ["ensure_first_token"]

TENANT = "default"


async def ensure_first_token(tokens: Tokens, path: Path) -> None:
    """Let the file at ``path`` (0600) hold a token that works, with every right, which never expires."""
    kept = (private_file.read(path) or b"").decode(errors="replace").strip()
    if await tokens.caller(f"Bearer {kept}"):
        return
    request = TokenRequest(name="first", role=Role.ADMIN, rights=(Right.RETIRE, Right.SITE), days=0)
    _, secret = await tokens.create(request, tenant=TENANT)
    private_file.write(path, secret.reveal().encode() + b"\n")
