"""Where a key lies, as a person writes it, and the signer for it.

/etc/crossport/seal.key                                       a file
pkcs11:token=site;object=seal?module-path=LIB&pin-source=FILE a hardware module (RFC 7512)
awskms:arn:aws:kms:REGION:ACCOUNT:key/ID                      the key service of AWS
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from crossport import errors
from crossport.identity import private_file
from crossport.identity.key_signer import KeySigner
from crossport.identity.outside_signer import OutsideSigner
from crossport.spi.secret import Secret
from crossport.spi.signer import Signer

__all__ = ["KMS", "TOKEN", "files_of", "missing_library", "open_signer", "service_key"]

TOKEN, KMS = "pkcs11:", "awskms:"
_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+")


def open_signer(place: str) -> Signer:
    """Return the signer whose key is at ``place``.

    Raise Invalid for what names no place, Unavailable when its library is not installed or the key cannot be
    reached, and what `KeySigner.opened` raises.
    """
    if place.startswith(TOKEN):
        return _in_token(place)
    if place.startswith(KMS):
        return _in_service(place)
    return KeySigner.opened(Path(place.removeprefix("file:")))


def _in_token(place: str) -> Signer:
    path, _, query = place.removeprefix(TOKEN).partition("?")
    words = dict(_pair(part) for part in path.split(";"))
    options = dict(parse_qsl(query))
    if set(words) != {"token", "object"} or set(options) != {"module-path", "pin-source"}:
        raise _malformed(place, "pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY&pin-source=FILE")
    try:
        from crossport.identity.pkcs11_signer import TokenKey, TokenPlace  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_library(error, "pkcs11") from error
    where = TokenPlace(
        library=Path(options["module-path"]),
        token=unquote(words["token"]),
        label=unquote(words["object"]),
        pin=_pin(Path(options["pin-source"].removeprefix("file:"))),
    )
    return OutsideSigner(TokenKey(where))


def files_of(place: str) -> tuple[Path, ...]:
    """Return the files that a module's place names: its library and its PIN."""
    options = dict(parse_qsl(place.partition("?")[2])) if place.startswith(TOKEN) else {}
    return tuple(
        Path(options[name].removeprefix("file:")) for name in ("module-path", "pin-source") if name in options
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _pin(path: Path) -> Secret:
    kept = private_file.read(path)
    if kept is None:
        raise errors.NotFound(
            "signer.pin.absent",
            f"There is no {path}, which should hold the token's PIN.",
            field="key",
            remedy="Write the PIN into that file; only you may read it (mode 0600).",
        )
    return Secret(kept.decode(errors="replace").strip())


def _in_service(place: str) -> Signer:
    arn, endpoint = service_key(place)
    try:
        from crossport.identity.key_service import KmsKey  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_library(error, "aws") from error
    return OutsideSigner(KmsKey(arn, endpoint=endpoint))


def service_key(place: str) -> tuple[str, str]:
    """Return the ARN of a key of the service, and its endpoint; raise Invalid for what names none."""
    arn, _, query = place.removeprefix(KMS).partition("?")
    options = dict(parse_qsl(query))
    if not _ARN.fullmatch(arn) or not set(options) <= {"endpoint"}:
        raise _malformed(place, "awskms:arn:aws:kms:REGION:ACCOUNT:key/ID")
    return arn, options.get("endpoint", "")


def _malformed(place: str, form: str) -> errors.Invalid:
    return errors.Invalid(
        "signer.place.malformed",
        f"{place} does not say where a key lies.",
        field="key",
        remedy=f"Write {form}",
    )


def missing_library(error: ImportError, extra: str) -> errors.Unavailable:
    """Return what is said where a key's library is not installed."""
    return errors.Unavailable(
        "signer.library.missing",
        f"This key needs {error.name}, which is not installed.",
        field="key",
        remedy=f"Install it with: pip install 'crossport[{extra}]'",
    )
