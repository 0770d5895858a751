"""Raise what the site raised: problem+json back into the same class of ``crossport.errors``."""

from typing import Any, cast

import httpx
from pydantic_core import from_json

from crossport import errors

__all__ = ["failure", "unreachable"]

KINDS: dict[str, type[errors.Error]] = {
    kind.__name__: kind
    for kind in (
        errors.Blocked,
        errors.Broken,
        errors.Cancelled,
        errors.Conflict,
        errors.Invalid,
        errors.NeedsAttention,
        errors.NotFound,
        errors.Refused,
        errors.RolledBack,
        errors.Unavailable,
    )
}


def failure(status: int, content: bytes, name: str) -> errors.Error:
    """Return the error that an answer of the endpoint ``name`` tells."""
    try:
        told: Any = from_json(content)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(cast("Any", told).get("code"), str):
        return _foreign(status, name)
    fields = cast("dict[str, Any]", told)
    kind = KINDS.get(str(fields.get("kind")), errors.Broken)
    return kind(
        str(fields["code"]),
        str(fields.get("detail", "")),
        remedy=str(fields.get("remedy", "")),
        field=str(fields.get("field", "")),
    )


def unreachable(error: httpx.HTTPError, name: str) -> errors.Error:
    """Return the error for a site that does not answer, or that is not the one it should be."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return errors.Refused(
            "client.server.untrusted",
            f"{name} has a certificate that the known CA did not sign.",
            field="server",
            remedy="Check the address, or pass the site's CA by --ca.",
        )
    kind = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return errors.Unavailable(
        "client.server.unreachable",
        f"{name} {kind}.",
        field="server",
        remedy="Check that the site runs there.",
    )


def _foreign(status: int, name: str) -> errors.Error:
    """Return the error for an answer that no site of ours gives."""
    return errors.Unavailable(
        "client.server.foreign",
        f"{name} answered {status} without saying why, which no site does.",
        field="server",
        remedy="Check the address; a proxy may stand between.",
    )
