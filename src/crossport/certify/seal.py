"""Seal an image: state what it is, for whom, from when to when, and have it signed."""

from crossport.certify.envelope import wrapped
from crossport.certify.statement import seal_in
from crossport.model.certified import Seal
from crossport.model.statement import payload_of
from crossport.spi.signer import Signer

__all__ = ["sealed"]


def sealed(seal: Seal, signer: Signer) -> bytes:
    """Return the envelope of ``seal``. Raise Refused for a seal that no importer would understand."""
    payload = payload_of(seal)
    seal_in(payload)
    return wrapped(payload, signer)
