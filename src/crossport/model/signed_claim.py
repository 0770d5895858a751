"""A claim as it travels with a copy: apart, so that a worker need not load what checks its content."""

from crossport.model.record import record

__all__ = ["SignedClaim"]


@record()
class SignedClaim:
    """The JSON of a claim and its signature, both base64, and the gateway's certificate (PEM)."""

    payload: str
    signature: str
    certificate: str
