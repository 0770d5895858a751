"""The keys by which the two ends of copies name chunks: one for each tenant and each pair of sites.

They are derived, so that nothing is kept and every node of a site comes to the same ones: names of earlier
copies stay comparable. Whoever is not one of the two sites, or is another tenant, cannot tell a name from
noise, although it may know the chunk.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crossport.transfer.names import KEY

__all__ = ["NameKeys"]


class NameKeys:
    """The keys of copies to the clouds of one site: whoever receives chooses the key.

    ``partner`` is the site from which it comes, empty for this one. A partner is told the key of what it
    sends, and of nothing else.
    """

    def __init__(self, secret: bytes) -> None:
        """``secret`` is the site's own, of at least 32 random bytes, used for nothing else."""
        self._secret = secret

    def key(self, tenant: str, partner: str = "") -> bytes:
        """Return the key of a tenant's names."""
        return self._derived(b"names", tenant, partner)

    def stock(self, tenant: str, partner: str = "") -> str:
        """Return what a host calls the content that it keeps for a tenant, found by these names."""
        return self._derived(b"stock", tenant, partner).hex()

    def _derived(self, purpose: bytes, tenant: str, partner: str) -> bytes:
        info = b"crossport " + purpose + b"\0" + tenant.encode()
        if partner:
            info += b"\0" + partner.encode()
        return HKDF(hashes.SHA256(), KEY, None, info).derive(self._secret)
