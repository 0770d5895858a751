"""The role document: how it changes, how it is signed, and when it is believed. Pure.

Rotation has two steps: a new key is listed with the moment from which it signs, and when that has come,
everybody has had the time to learn it. The old one stays listed to its end, for what it signed before.
"""

import base64
import binascii
import dataclasses
import hashlib

from crossport import errors
from crossport.identity import root_step
from crossport.model import codec
from crossport.model.keyring import Key, Keyring, KeyRole, key_id
from crossport.model.record import record
from crossport.model.role import FORMAT, RoleDocument
from crossport.model.signature import is_signed, signing_bytes
from crossport.spi.signer import Signer

__all__ = [
    "DOCUMENT_LIFETIME_S",
    "KEY_LIFETIME_S",
    "LEAD_S",
    "Seen",
    "believed",
    "believed_before",
    "changed",
    "digest",
    "is_stale",
    "keyring",
    "listed",
    "public",
    "require_settled",
    "root_after",
    "root_known_as",
    "root_of",
    "revoked",
    "signed",
    "signing_key",
    "with_key",
]

DAY_S = 86400.0
DOCUMENT_LIFETIME_S = 30 * DAY_S
KEY_LIFETIME_S = 365 * DAY_S
LEAD_S = DAY_S
"""How long a new key is listed before it signs: partners look for a new document several times a day."""
PAYLOAD_TYPE = "application/vnd.crossport.roles+json"
MAX_SIZE = 1 << 20


@record()
class _Signature:
    keyid: str
    sig: str


@record()
class _Envelope:
    payload: str
    payloadType: str  # noqa: N815 - DSSE's own word
    signatures: tuple[_Signature, ...]


@record()
class Seen:
    """The newest document that somebody has believed: its version, and its SHA-256."""

    version: int
    sha256: str


def public(signer: Signer) -> str:
    """Return a public key as documents hold it."""
    return base64.b64encode(signer.public_key()).decode()


def digest(envelope: bytes) -> str:
    """Return the SHA-256 by which `Seen` knows the document in an envelope.

    It is not the envelope's: the same document in another one, which anybody can make, is no second document.
    """
    try:
        return hashlib.sha256(base64.b64decode(_form(envelope).payload, validate=True)).hexdigest()
    except binascii.Error as error:
        raise _malformed() from error


def changed(document: RoleDocument, now: float, keys: tuple[Key, ...]) -> RoleDocument:
    """Return the next version, with these keys, and good for its whole lifetime from now on."""
    return dataclasses.replace(
        document, version=document.version + 1, issued=now, expires=now + DOCUMENT_LIFETIME_S, keys=keys
    )


def is_stale(document: RoleDocument, now: float) -> bool:
    """Say whether half of the document's life is over: then a new version is due."""
    return now > document.expires - DOCUMENT_LIFETIME_S / 2


def require_settled(document: RoleDocument, role: KeyRole, now: float) -> None:
    """Raise Conflict ``key.rotation.pending`` when a key of this role is listed that does not sign yet."""
    waiting = [key for key in _good(document, role, now) if key.valid_from > now]
    if waiting:
        raise errors.Conflict(
            "key.rotation.pending",
            f"A new {role} key is listed already and signs soon: {waiting[0].id()}.",
            field="role",
            remedy="Wait until it signs, or rotate at once if the one that signs now must not sign on.",
        )


def with_key(document: RoleDocument, key: Key, now: float) -> RoleDocument:
    """Return the next version, which lists ``key`` too."""
    return changed(document, now, (*document.keys, key))


def revoked(document: RoleDocument, id_: str, now: float) -> RoleDocument:
    """Return the next version, in which this key is revoked; raise NotFound, or Conflict if it was before."""
    found = next((key for key in document.keys if key.id() == id_), None)
    if found is None:
        raise errors.NotFound(
            "key.unknown", f"This site has no key {id_}.", field="key", remedy="See `crossport key list`."
        )
    if found.revoked is not None:
        raise errors.Conflict(
            "key.revoked",
            f"Key {id_} is revoked already.",
            field="key",
            remedy="Nothing is left to do: what it signed is not believed.",
        )
    keys = tuple(dataclasses.replace(key, revoked=now) if key is found else key for key in document.keys)
    return changed(document, now, keys)


def signing_key(document: RoleDocument, role: KeyRole, now: float) -> Key | None:
    """Return the key that signs now in ``role``: of those that are good, the one that came last."""
    good = [key for key in _good(document, role, now) if key.valid_from <= now]
    return max(reversed(good), key=lambda key: key.valid_from, default=None)


def keyring(document: RoleDocument) -> Keyring:
    """Return the keys as whoever checks a signature wants them."""
    return Keyring(keys=document.keys)


def signed(document: RoleDocument, root: Signer) -> bytes:
    """Return the envelope (DSSE) of ``document``."""
    payload = codec.encoded(document).encode()
    signature = _Signature(keyid=root.key_id, sig=_text(root.sign(signing_bytes(PAYLOAD_TYPE, payload))))
    envelope = _Envelope(payload=_text(payload), payloadType=PAYLOAD_TYPE, signatures=(signature,))
    return codec.encoded(envelope).encode()


def believed(envelope: bytes, site: str, root: bytes, now: float, seen: Seen | None) -> RoleDocument:
    """Return the document in ``envelope``, if ``root`` (DER) signed it for ``site`` and it is the newest; or
    a root to which the document's steps lead from that one.

    ``seen`` is the last one that was believed. Raise Refused with a ``roles.…`` code of its own for each
    reason against it, Conflict ``roles.format.newer`` for one that a newer Crossport wrote.
    """
    root = root_after(envelope, site, root)
    document = _document(_payload(envelope, root))
    if document.site != site or document.root != _text(root):
        raise _refused("roles.site.other", f"It is the document of site {document.site}, not of {site}.")
    if len({key.id() for key in document.keys}) != len(document.keys):
        raise _refused("roles.key.repeated", "It lists one key twice: which of its roles holds?")
    if stranger := next((key for key in document.keys if key.site != site), None):
        raise _refused("roles.key.foreign", f"It lists a key of site {stranger.site}.")
    if seen and document.version < seen.version:
        raise _refused(
            "roles.document.rolled_back",
            f"It is version {document.version}; version {seen.version} was there before.",
        )
    if seen and document.version == seen.version and digest(envelope) != seen.sha256:
        raise _refused("roles.document.forked", f"There are two documents of version {document.version}.")
    if now >= document.expires:
        raise _refused("roles.document.expired", "It is expired, and no newer one is there.")
    return document


def believed_before(envelope: bytes, site: str, root: bytes) -> Seen:
    """Return by what a newer one is compared with a document that was believed, though it may be expired."""
    document = believed(envelope, site, root, 0.0, None)
    return Seen(version=document.version, sha256=digest(envelope))


def root_known_as(envelope: bytes, id_: str) -> bytes | None:
    """Return the root (DER) with this id that a document names as its own or an earlier one.

    Nothing in it is proven yet.
    """
    root = root_of(envelope)
    if key_id(root) == id_:
        return root
    return root_step.root_known_as(_unproven(envelope).roots, id_)


def listed(envelope: bytes) -> frozenset[str]:
    """Return the ids of the keys that a document lists; nothing in it is proven."""
    return frozenset(key.id() for key in _unproven(envelope).keys)


def root_of(envelope: bytes) -> bytes:
    """Return the root (DER) that a document names, for its first reader: nothing in it is proven yet."""
    try:
        return base64.b64decode(_unproven(envelope).root, validate=True)
    except binascii.Error as error:
        raise _malformed() from error


def _unproven(envelope: bytes) -> RoleDocument:
    try:
        return _document(base64.b64decode(_form(envelope).payload))
    except binascii.Error as error:
        raise _malformed() from error


def _form(envelope: bytes) -> _Envelope:
    if len(envelope) > MAX_SIZE:
        raise _malformed()
    try:
        form = codec.decoded(envelope, _Envelope)
    except errors.Invalid as error:
        raise _malformed() from error
    if form.payloadType != PAYLOAD_TYPE:
        raise _malformed()
    return form


def root_after(envelope: bytes, site: str, pinned: bytes) -> bytes:
    """Return whose signature the document needs: the pinned root's, or of one that followed it."""
    try:
        document = _unproven(envelope)
    except errors.Error:
        return pinned  # what is no document is found once it is known whether somebody signed it
    return pinned if document.root == _text(pinned) else root_step.followed(document.roots, site, pinned)


def _payload(envelope: bytes, root: bytes) -> bytes:
    form = _form(envelope)
    try:
        payload = base64.b64decode(form.payload, validate=True)
        signatures = {one.keyid: base64.b64decode(one.sig, validate=True) for one in form.signatures}
    except binascii.Error as error:
        raise _malformed() from error
    if not is_signed(root, signing_bytes(PAYLOAD_TYPE, payload), signatures.get(key_id(root), b"")):
        raise _refused("roles.signature.wrong", "The site's root did not sign it.")
    return payload


def _document(payload: bytes) -> RoleDocument:
    try:
        document = codec.decoded(payload, RoleDocument)
    except errors.Invalid as error:
        raise _malformed() from error
    if document.format > FORMAT:
        raise errors.Conflict(
            "roles.format.newer",
            "The role document was written by a newer Crossport.",
            remedy="Use that version or a later one.",
        )
    return document


def _good(document: RoleDocument, role: KeyRole, now: float) -> list[Key]:
    return [
        key for key in document.keys if key.role is role and key.revoked is None and now < key.valid_until
    ]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _malformed() -> errors.Refused:
    return _refused("roles.document.malformed", "It is no role document.")


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The role document is not believed. {text}",
        field="roles",
        remedy="No key in it counts. Get the newest document from the site itself, and find out where this "
        "one came from.",
    )
