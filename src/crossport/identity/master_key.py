"""The key that everything secret of a site hangs on: in one private file, or handed in by the operator.

The file may be encrypted by a key that lies elsewhere; then it opens nothing by itself.

While it is being changed there are several; each sealed secret names the one it needs.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crossport import errors
from crossport.identity import private_file

__all__ = ["KEY_ID_SIZE", "KEY_SIZE", "KeyWrap", "MasterKeys"]

KEY_SIZE = 32
KEY_ID_SIZE = 8
_VERSION = 1


class KeyWrap(Protocol):
    """A key that lies elsewhere and encrypts the file. Raises Unavailable or Refused, as its keeper says."""

    def wrap(self, plain: bytes) -> bytes:
        """Return what only this key opens."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return what was wrapped."""
        ...


class MasterKeys:
    """The master keys in use. The newest, ``current``, seals; the others only open.

    Several processes may use the same file: each reads it again before it seals or changes anything.
    """

    def __init__(
        self, keys: tuple[bytes, ...], path: Path | None = None, wrap: KeyWrap | None = None
    ) -> None:
        """Use keys that were handed in, the newest last: a vault or a hardware module keeps them."""
        if not keys or any(len(key) != KEY_SIZE for key in keys):
            raise errors.Invalid(
                "secret.key.size", f"A master key has {KEY_SIZE} bytes.", remedy="Hand in such a key."
            )
        self._keys = {_key_id(key): key for key in keys}
        self._path = path
        self._wrap = wrap
        self._read: bytes = b""

    @classmethod
    def open(
        cls, path: Path, *, entropy: Callable[[int], bytes], wrap: KeyWrap | None = None
    ) -> "MasterKeys":
        """Return the keys kept in ``path``, made now if there is no such file.

        With ``wrap`` the file is encrypted, from now on where it was not. Raise Refused when others can read
        it or when it was encrypted and there is no ``wrap``, Broken when it is damaged.
        """
        private_file.make_private(path.parent)
        with private_file.locked(path.parent):
            kept = private_file.read(path)
            if kept is None:
                private_file.write(path, _packed((entropy(KEY_SIZE),), wrap))
            elif wrap is not None and "wrapped" not in _content(path, kept):
                private_file.write(path, _packed(_unpacked(path, kept, None), wrap))
            kept = private_file.read(path) or b""
        opened = cls(_unpacked(path, kept, wrap), path, wrap)
        opened._read = bytes(kept)
        return opened

    @property
    def current(self) -> bytes:
        """The id of the key that seals now. Raise Broken when the file is gone or damaged."""
        self._refresh()
        return list(self._keys)[-1]

    def key(self, key_id: bytes) -> bytes:
        """Return a key by its id; raise Broken (``secret.key.missing``).

        The file is read again first: another process may have changed the key.
        """
        if key_id not in self._keys:
            self._refresh()
        if key_id not in self._keys:
            raise errors.Broken(
                "secret.key.missing",
                "The master key of this secret is not known.",
                remedy="Restore the master key from a backup, or put the secret anew.",
            )
        return self._keys[key_id]

    def has(self, key_id: bytes) -> bool:
        """Say whether a key is among those that were opened."""
        return key_id in self._keys

    def derived(self, purpose: str) -> bytes:
        """Return a secret for one purpose, the same at every node, another one once the key was changed."""
        info = b"crossport " + purpose.encode()
        return HKDF(hashes.SHA256(), KEY_SIZE, None, info).derive(self.key(self.current))

    def add(self, key: bytes) -> None:
        """Make ``key`` the current one, durably; the old ones stay, those of other processes too."""
        self._change(lambda keys: (*keys, key))

    def forget_old(self) -> None:
        """Forget all but the current one, durably."""
        self._change(lambda keys: keys[-1:])

    def _refresh(self) -> None:
        if self._path is None:
            return
        kept = private_file.read(self._path) or b""
        if kept != self._read:  # what encrypts the file is asked when it was changed, and not each time
            self._keys = {_key_id(key): key for key in _unpacked(self._path, kept, self._wrap)}
            self._read = kept

    def _change(self, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> None:
        if self._path is None:
            self._keys = {_key_id(key): key for key in change(tuple(self._keys.values()))}
            return
        with private_file.locked(self._path.parent):
            kept = private_file.read(self._path) or b""
            keys = change(_unpacked(self._path, kept, self._wrap))
            private_file.write(self._path, _packed(keys, self._wrap))
        self._refresh()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"crossport master key id\0" + key).digest()[:KEY_ID_SIZE]


def _packed(keys: tuple[bytes, ...], wrap: KeyWrap | None) -> bytes:
    plain = json.dumps({"version": _VERSION, "keys": [key.hex() for key in keys]}).encode()
    if wrap is None:
        return plain
    return json.dumps({"version": _VERSION, "wrapped": base64.b64encode(wrap.wrap(plain)).decode()}).encode()


def _unpacked(path: Path, kept: bytes, wrap: KeyWrap | None) -> tuple[bytes, ...]:
    content = _content(path, kept)
    try:
        if "wrapped" in content:
            if wrap is None:
                raise _encrypted(path)
            content = _content(path, wrap.unwrap(base64.b64decode(content["wrapped"], validate=True)))
        keys = tuple(bytes.fromhex(key) for key in content["keys"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not keys or any(len(key) != KEY_SIZE for key in keys):
        raise _damaged(path)
    return keys


def _content(path: Path, kept: bytes) -> dict[str, Any]:
    try:
        content = json.loads(kept)
        newer = content["version"] > _VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if newer:
        raise errors.Conflict(
            "secret.version.newer",
            f"{path} was written by a newer Crossport.",
            remedy="Use that version or a later one.",
        )
    return content


def _encrypted(path: Path) -> errors.Refused:
    return errors.Refused(
        "secret.key.wrapped",
        f"{path} is encrypted by a key that lies elsewhere, and the settings name none.",
        field="master_key",
        remedy="Set master_key to the key that it was encrypted with, as awskms:arn:aws:kms:….",
    )


def _damaged(path: Path) -> errors.Broken:
    return errors.Broken(
        "secret.key.damaged",
        f"{path} does not hold master keys.",
        remedy="Restore the file from a backup; without it no secret of this site can be read.",
    )
