"""The calls about run grants that the API answers, by the names of ``spi.grant.RunGrants``."""

from crossport.client.call import Call, Page, path
from crossport.model.grant import RunGrant

__all__ = ["grant", "grants", "revoke_grant"]


def grants(after: str = "") -> Call[Page[RunGrant]]:
    """List grants."""
    return Call("GET", path("grants"), Page[RunGrant], query={"after": after} if after else {})


def grant(run: str) -> Call[RunGrant]:
    """Show the grant of one run."""
    return Call("GET", path("grants", run), RunGrant)


def revoke_grant(run: str) -> Call[RunGrant]:
    """Take a run its right."""
    return Call("DELETE", path("grants", run), RunGrant)
