"""`crossport token`: hand out tokens, see them, revoke them."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.model.access import Right, Role, TokenRequest

__all__ = ["app"]

app = App(name="token", help="Hand out and revoke tokens.")


@app.command
def create(
    name: str,
    /,
    *,
    role: Annotated[Role, Parameter(help="What it may do: read, operate too, administer too.")],
    right: Annotated[
        tuple[Right, ...],
        Parameter(negative=(), show_default=False, help="A right that no role includes; repeatable."),
    ] = (),
    tenant: Annotated[str, Parameter(help="In whose name; else your own tenant's.", show_default=False)] = "",
    days: Annotated[int, Parameter(help="When it expires; 0 is never.")] = 90,
    session: Here,
) -> None:
    """Make a token. It is shown this once: write it into a file that only you can read.

    For example:

      crossport token create ci --role operator --days 30

      crossport token create storage-team --role operator --right retire --json

    Parameters
    ----------
    name
        What the token is for.
    """
    request = TokenRequest(name=name, role=role, rights=right, tenant=tenant, days=days)
    new = session.send(calls.create_token(request))
    shown = fields("", ("id", new.token.id), ("token", new.secret), ("expires", _day(new.token.expires)))
    session.out.result(new, shown)


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List tokens, without their secret part.

    For example:

      crossport token list
    """
    tokens = sorted(session.all(calls.tokens), key=lambda token: (token.name, token.id))
    rows = tuple(
        (token.id, token.name, token.tenant, token.role.value, " ".join(token.rights), _day(token.expires))
        for token in tokens
    )
    session.out.result(tuple(tokens), Table(("ID", "NAME", "TENANT", "ROLE", "RIGHTS", "EXPIRES"), rows))


@app.command
def revoke(token: str, /, *, session: Here) -> None:
    """Make a token worthless from now on.

    For example:

      crossport token revoke 3f9a1c7e20b4d5e6

    Parameters
    ----------
    token
        The token's id, as `crossport token list` shows it.
    """
    session.send(calls.revoke_token(token))
    session.out.result({"revoked": token}, fields("", ("revoked", token)))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d") if seconds else "never"
