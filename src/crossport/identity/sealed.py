"""Secrets at rest: each sealed under a key of its own, and these keys under the site's master key.

The seal binds the reference and the site: a sealed secret that is copied to another reference or another
site does not open. AES-256-GCM throughout (NIST SP 800-38D), nonces random; a data key seals one value once,
so that nonces cannot meet. Changing the master key seals the data keys anew; values are not touched.

A sealed secret is: version (1 byte), id of the master key (8), nonce and sealed data key (12 + 48), nonce
and sealed value (12 + n + 16).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crossport import errors
from crossport.identity import private_file
from crossport.identity.master_key import KEY_ID_SIZE, KEY_SIZE, MasterKeys
from crossport.spi.secret import Secret

__all__ = ["SealedFiles", "SealedSecrets", "SealedStore", "sealed_under"]

VERSION = 1
_NONCE = 12
_TAG = 16
_KEY_END = 1 + KEY_ID_SIZE + _NONCE + KEY_SIZE + _TAG
_SUFFIX = ".sealed"
_MAX_NAME = 240


class SealedStore(Protocol):
    """Where sealed bytes lie, by reference. Nothing in it is secret."""

    async def read(self, reference: str) -> bytes | None:
        """Return what was written last, None when there is nothing."""
        ...

    async def write(self, reference: str, sealed: bytes) -> None:
        """Keep ``sealed``, durably, in place of what was there."""
        ...

    async def remove(self, reference: str) -> None:
        """Remove it. Not an error when it is gone."""
        ...

    async def references(self) -> tuple[str, ...]:
        """Return all references."""
        ...


def sealed_under(sealed: bytes) -> bytes:
    """Return the id of the master key that opens it."""
    return sealed[1 : 1 + KEY_ID_SIZE]


class SealedFiles:
    """A store of one private file per secret in a private directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        private_file.make_private(directory)

    async def read(self, reference: str) -> bytes | None:
        """Return what was written last, None when there is nothing."""
        return await asyncio.to_thread(private_file.read, self._path(reference))

    async def write(self, reference: str, sealed: bytes) -> None:
        """Keep ``sealed``, durably."""
        await asyncio.to_thread(private_file.write, self._path(reference), sealed)

    async def remove(self, reference: str) -> None:
        """Remove it. Not an error when it is gone."""
        await asyncio.to_thread(private_file.remove, self._path(reference))

    async def references(self) -> tuple[str, ...]:
        """Return all references, sorted."""
        names = await asyncio.to_thread(lambda: [path.name for path in self._directory.glob(f"*{_SUFFIX}")])
        return tuple(sorted(unquote(name.removesuffix(_SUFFIX)) for name in names if name[0] != "."))

    def _path(self, reference: str) -> Path:
        # quote() leaves dots alone, so that "..": the prefix-free suffix keeps the name inside the directory.
        name = quote(reference, safe="").replace(".", "%2E") + _SUFFIX
        if len(name) > _MAX_NAME:
            raise errors.Invalid(
                "secret.reference.long",
                "The reference is too long.",
                remedy=f"Use one that takes at most {_MAX_NAME - len(_SUFFIX)} characters in a URL.",
                field="reference",
            )
        return self._directory / name


class SealedSecrets:
    """The site's secrets (`crossport.spi.secret.Secrets`), sealed into a store."""

    def __init__(
        self, store: SealedStore, keys: MasterKeys, *, site: str, entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._keys = keys
        self._site = site
        self._entropy = entropy
        self._writing = asyncio.Lock()

    async def put(self, reference: str, secret: Secret) -> None:
        """Keep ``secret``, replacing what ``reference`` named."""
        self._check(reference)
        data_key = self._entropy(KEY_SIZE)
        value = self._sealed(data_key, secret.reveal().encode(), self._bound("value", reference))
        async with self._writing:
            await self._store.write(reference, self._wrapped(data_key, reference) + value)

    async def fetch(self, reference: str) -> Secret:
        """Return the secret.

        Raise NotFound (``secret.unknown``), Broken (``secret.seal.broken``) when it was changed, moved or
        belongs to another site, and Broken (``secret.key.missing``) without its master key.
        """
        self._check(reference)
        sealed = await self._store.read(reference)
        if sealed is None:
            raise errors.NotFound(
                "secret.unknown",
                f"There is no secret {reference}.",
                remedy="Put the secret anew, for a cloud's login by adding the cloud again.",
                field="reference",
            )
        data_key = self._unwrapped(sealed, reference)
        value = self._opened(data_key, sealed[_KEY_END:], self._bound("value", reference), reference)
        return Secret(value.decode())

    async def forget(self, reference: str) -> None:
        """Destroy the secret. Not an error when it is gone."""
        self._check(reference)
        async with self._writing:
            await self._store.remove(reference)

    async def change_master_key(self) -> None:
        """Make a new master key, seal every data key anew under it, then forget the old ones.

        May be called again after a crash in the middle: all keys in use are kept until the end. No other
        process may put secrets into the same store meanwhile.
        """
        async with self._writing:
            self._keys.add(self._entropy(KEY_SIZE))
            for reference in await self._store.references():
                sealed = await self._store.read(reference)
                if sealed is not None:
                    data_key = self._unwrapped(sealed, reference)
                    value = sealed[_KEY_END:]
                    await self._store.write(reference, self._wrapped(data_key, reference) + value)
            self._keys.forget_old()

    def _check(self, reference: str) -> None:
        if not reference or not reference.isprintable():
            raise errors.Invalid(
                "secret.reference.invalid",
                "A reference is a printable text.",
                remedy="Use letters, digits, dashes and slashes.",
                field="reference",
            )

    def _wrapped(self, data_key: bytes, reference: str) -> bytes:
        key_id = self._keys.current
        head = bytes([VERSION]) + key_id
        master = self._keys.key(key_id)
        return head + self._sealed(master, data_key, head + self._bound("key", reference))

    def _unwrapped(self, sealed: bytes, reference: str) -> bytes:
        if len(sealed) < _KEY_END + _NONCE + _TAG:
            raise _broken(reference)
        if sealed[0] > VERSION:
            raise errors.Conflict(
                "secret.version.newer",
                f"Secret {reference} was written by a newer Crossport.",
                remedy="Use that version or a later one.",
            )
        head = sealed[: 1 + KEY_ID_SIZE]
        master = self._keys.key(sealed_under(sealed))
        return self._opened(
            master, sealed[len(head) : _KEY_END], head + self._bound("key", reference), reference
        )

    def _bound(self, what: str, reference: str) -> bytes:
        # No part contains a NUL, so that no two triples read the same.
        return f"crossport secret\0{what}\0{self._site}\0{reference}".encode()

    def _sealed(self, key: bytes, value: bytes, bound: bytes) -> bytes:
        nonce = self._entropy(_NONCE)
        return nonce + AESGCM(key).encrypt(nonce, value, bound)

    def _opened(self, key: bytes, sealed: bytes, bound: bytes, reference: str) -> bytes:
        try:
            return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
        except InvalidTag as error:
            raise _broken(reference) from error


def _broken(reference: str) -> errors.Broken:
    return errors.Broken(
        "secret.seal.broken",
        f"Secret {reference} was changed, moved from another reference, or belongs to another site.",
        remedy="Put the secret anew.",
    )
