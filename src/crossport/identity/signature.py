"""What is said of keys that nothing is signed with."""

from crossport import errors

__all__ = ["wrong_kind"]


def wrong_kind(name: str) -> errors.Refused:
    """Return what is said of a key that Crossport does not sign with."""
    return errors.Refused(
        "signer.key.kind",
        f"{name} is neither a key of P-256 nor one of Ed25519.",
        field="key",
        remedy="Make a new key of one of the two.",
    )
