"""How content lies in a stock: sealed with AES-256-GCM, each piece bound to its place."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Cipher"]


class Cipher:
    """Seals and opens under the key of one stock."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def sealed(self, nonce: bytes, plain: bytes | bytearray | memoryview, unit: int) -> bytes:
        """Seal a piece that will lie at ``unit``; each nonce is used once."""
        return self._aead.encrypt(nonce, plain, _bound(unit))

    def opened(self, nonce: bytes, sealed: memoryview, unit: int) -> bytes | None:
        """Open what lies at ``unit``, None when that is another piece, or an older one written over."""
        try:
            return self._aead.decrypt(nonce, sealed, _bound(unit))
        except (InvalidTag, ValueError):
            return None


def _bound(unit: int) -> bytes:
    return b"crossport stock" + unit.to_bytes(8)
