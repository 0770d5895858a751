"""The master key of a site, made with the site and never again while secrets hang on it.

It lies in a file of the site, clear or encrypted by a key service, or the environment hands it in.
"""

import base64
import binascii
import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from crossport import errors
from crossport.identity import MasterKeys, SealedFiles, private_file
from crossport.identity.master_key import KEY_SIZE, KeyWrap
from crossport.identity.sealed import sealed_under
from crossport.identity.signers import KMS, missing_library, service_key

__all__ = ["KEY_FILE", "MasterSource", "master_keys", "source_of"]

KEY_FILE = "master.key"
ENVIRONMENT = "env:"


@dataclass(frozen=True, slots=True)
class MasterSource:
    """Where the key comes from: ``handed`` in, the newest last; else the site's file, under ``wrap``."""

    handed: tuple[bytes, ...] = field(default=(), repr=False)
    wrap: KeyWrap | None = None

    def open(self, path: Path) -> MasterKeys:
        """Return the keys; those of the file ``path`` are made now if there are none."""
        if not self.handed:
            return MasterKeys.open(path, entropy=os.urandom, wrap=self.wrap)
        if private_file.read(path) is not None:
            raise errors.Refused(
                "identity.key.two",
                f"The settings hand a master key in, and {path} holds one, too.",
                field="master_key",
                remedy=f"Hand in the key that {path} holds, and put the file away; or remove the setting.",
            )
        return MasterKeys(self.handed)

    def missing(self, path: Path) -> bool:
        """Say whether there is no key as yet."""
        return not self.handed and private_file.read(path) is None


def source_of(place: str, environment: MutableMapping[str, str]) -> MasterSource:
    """Return where the setting ``master_key`` says that the key comes from.

    ``env:NAME`` is taken out of ``environment``, so that no process inherits it. Raise Invalid for what names
    no place or holds no key, Unavailable when a library is not installed.
    """
    if place.startswith(ENVIRONMENT):
        name = place.removeprefix(ENVIRONMENT)
        return MasterSource(handed=_handed(name, environment.pop(name, "")))
    if place.startswith(KMS):
        arn, endpoint = service_key(place)
        try:
            from crossport.identity.key_service import KmsWrap  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing_library(error, "aws") from error
        return MasterSource(wrap=KmsWrap(arn, endpoint=endpoint))
    if place:
        raise _invalid(f"{place!r} names no master key.", "Write env:NAME, or awskms:arn:aws:kms:….")
    return MasterSource()


def _handed(name: str, text: str) -> tuple[bytes, ...]:
    how = f"Set {name} to {KEY_SIZE} random bytes in base64: head -c {KEY_SIZE} /dev/urandom | base64"
    if not text.strip():
        raise _invalid(f"The environment has no {name}, which should hold the master key.", how)
    try:
        keys = tuple(base64.b64decode(each.strip(), validate=True) for each in text.split(","))
    except (binascii.Error, ValueError):
        raise _invalid(f"{name} holds no master key in base64.", how) from None
    if any(len(key) != KEY_SIZE for key in keys):
        raise _invalid(f"{name} holds no master key of {KEY_SIZE} bytes.", how)
    return keys


def _invalid(text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("settings.invalid", text, field="master_key", remedy=remedy)


async def master_keys(directory: Path, secrets: Path, source: MasterSource) -> MasterKeys:
    """Return the keys kept in ``directory``, made now if there are none and nothing is sealed in ``secrets``.

    Raise Refused ``identity.key.lost`` when they are missing: a new key would open nothing, and whoever finds
    the old one later could not tell which secrets it opens. ``identity.key.other`` when those handed in do
    not open what is sealed.
    """
    private_file.make_private(directory)
    path = directory / KEY_FILE
    if source.missing(path) and (kept := await SealedFiles(secrets).references()):
        raise errors.Refused(
            "identity.key.lost",
            f"{secrets} holds {_secrets(len(kept))}, and the key that opens them is missing: {path}.",
            remedy=f"Bring {path} back from a backup (mode 0600), and start again. If it is lost, so "
            f"are the logins of the clouds: move {secrets} away, start again, and add the clouds anew.",
        )
    keys = source.open(path)
    if source.handed and (closed := await _closed(SealedFiles(secrets), keys)):
        raise errors.Refused(
            "identity.key.other",
            f"The master key that was handed in does not open {_secrets(closed)} in {secrets}.",
            field="master_key",
            remedy="Hand in the key that they were sealed with; behind a comma the one that shall follow it.",
        )
    return keys


async def _closed(store: SealedFiles, keys: MasterKeys) -> int:
    """Return how many secrets these keys do not open."""
    kept = [await store.read(reference) for reference in await store.references()]
    return sum(1 for one in kept if one is not None and not keys.has(sealed_under(one)))


def _secrets(count: int) -> str:
    return f"{count} sealed secret{'s' * (count != 1)}"
