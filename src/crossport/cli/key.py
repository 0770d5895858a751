"""`crossport key`: the keys that the site signs with; and, without a site, keys in files and elsewhere."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.identity.key_signer import KeySigner
from crossport.identity.signers import open_signer
from crossport.model.keyring import Algorithm, Key, KeyRole, key_id
from crossport.model.role import RevokeRequest, RotateRequest, SiteKeys
from crossport.spi.signer import Signer

__all__ = ["app"]

Changeable = Literal["seal", "audit", "ticket", "permit", "root"]
ROLES: dict[Changeable, Literal[KeyRole.SEAL, KeyRole.AUDIT, KeyRole.TICKET, KeyRole.PERMIT, "root"]] = {
    "seal": KeyRole.SEAL,
    "audit": KeyRole.AUDIT,
    "ticket": KeyRole.TICKET,
    "permit": KeyRole.PERMIT,
    "root": "root",
}

_ID = re.compile(r"[0-9a-f]{64}")

app = App(name="key", help="See, rotate and revoke the keys that the site signs with, and make others.")


@app.command
def make(
    file: Path,
    /,
    *,
    algorithm: Annotated[Algorithm, Parameter(help="How it signs.")] = Algorithm.ECDSA_P256,
    session: Here,
) -> None:
    """Make a key to sign with, in a new file that only you can read.

    For example:

      crossport key make seal.key

    Parameters
    ----------
    file
        The new file.
    """
    signer = KeySigner.made(algorithm)
    signer.keep(file)
    _tell(signer, str(file), session)


@app.command
def show(key: str, /, *, session: Here) -> None:
    """Show the public half of a key, for whoever has to trust it. The private half stays where it is.

    It may lie in a file, in a hardware module, or in a key service.

    For example:

      crossport key show seal.key

      crossport key show 'pkcs11:token=site;object=seal?module-path=/usr/lib/libhsm.so&pin-source=pin'

      crossport key show awskms:arn:aws:kms:eu-central-1:123456789012:key/378697a7-8bc3-48b3-8078

    Parameters
    ----------
    key
        Where it lies.
    """
    _tell(open_signer(key), key, session)


@app.command(name="list")
def list_(
    *,
    document: Annotated[
        Path | None,
        Parameter(help="Write the signed document for partners into this file.", show_default=False),
    ] = None,
    session: Here,
) -> None:
    """List the keys that the site signs with: in which role, from when to when, revoked or not.

    The signer keeps them, a process of its own that begins with the first such command.

    For example:

      crossport key list

      crossport key list --document north.roles
    """
    found = session.send(calls.keys())
    if document:
        _write(document, base64.b64decode(found.envelope))
    _list(found, session)


@app.command
def rotate(
    role: Changeable,
    /,
    *,
    at_once: Annotated[
        bool, Parameter(negative=(), help="Let the new key sign now, though partners do not know it yet.")
    ] = False,
    session: Here,
) -> None:
    """Let a new key follow the one that signs now.

    The new key is listed now and signs a day later, so that partners learn it before they need it. The old
    one stays listed to its end, for what it signed. If it was stolen, revoke it instead.

    A new root, which signs the list itself, follows at once: the old one signs that it does, and is gone. Who
    trusted the old one goes on with the new.

    For example:

      crossport key rotate seal

    Parameters
    ----------
    role
        What the key signs.
    """
    _list(session.send(calls.rotate_key(RotateRequest(role=ROLES[role], at_once=at_once))), session)


@app.command
def revoke(key: str, /, *, session: Here) -> None:
    """Revoke a key: nothing is believed any more that it signed, whenever it did. Another one signs at once.

    For example:

      crossport key revoke 805b424fc594f35961d2bca27542e11691fdebaa2b4d1876d62913c562730865

    Parameters
    ----------
    key
        The key's id, as `crossport key list` shows it.
    """
    if not _ID.fullmatch(key):
        raise errors.Invalid(
            "key.id.form",
            f"{key[:80]!r} is no id of a key.",
            field="key",
            remedy="Copy the 64 digits that `crossport key list` shows.",
        )
    _list(session.send(calls.revoke_key(RevokeRequest(key=key))), session)


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as out:
            out.write(content)
    except OSError as error:
        raise errors.Invalid(
            "cli.file.unwritable",
            f"{file} cannot be made: {error.strerror}.",
            field="--document",
            remedy="Name a file that does not exist yet.",
        ) from error


def _list(found: SiteKeys, session: Session) -> None:
    document = found.document
    # This machine's clock may be behind the site's.
    now = max(session.machine.wall(), document.issued)
    rows = tuple(
        (key.id(), key.role.value, _state(key, now), _day(key.valid_from), _day(key.valid_until))
        for key in sorted(document.keys, key=lambda key: (key.role, key.valid_from))
    )
    session.out.result(
        found,
        fields(
            "",
            ("site", document.site),
            ("version", str(document.version)),
            ("root", key_id(base64.b64decode(document.root))),
            ("good until", _day(document.expires)),
        ),
        Table(("KEY", "ROLE", "STATE", "FROM", "UNTIL"), rows),
    )


def _state(key: Key, now: float) -> str:
    if key.revoked is not None:
        return "revoked"
    if now >= key.valid_until:
        return "expired"
    return "next" if now < key.valid_from else "good"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _tell(signer: Signer, place: str, session: Session) -> None:
    public_key = base64.b64encode(signer.public_key()).decode()
    session.out.result(
        {"key": signer.key_id, "algorithm": signer.algorithm, "place": place, "public_key": public_key},
        fields(
            "",
            ("key", signer.key_id),
            ("algorithm", signer.algorithm.value),
            ("place", place),
            ("public key", public_key),
        ),
    )
