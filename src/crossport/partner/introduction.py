"""What sites tell one another about themselves, and when it is believed.

The root of a site's role document is what a partner pins. An authority counts if that root lists its key, so
that authorities and addresses can change without a new invitation, and nobody but the root changes them.
"""

import base64
import binascii
import dataclasses
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import Field

from crossport import errors
from crossport.identity import role_document as roles
from crossport.model.keyring import KeyRole, key_id
from crossport.model.partner import Partner, PartnerState, SiteName
from crossport.model.record import record
from crossport.model.role import RoleDocument

__all__ = ["Introduction", "introduced", "learned"]

VERSION = 1


@record()
class Introduction:
    """A site's word about itself: its authorities (PEM), where it listens for partners, and its roles."""

    version: int = VERSION
    site: SiteName
    authorities: Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]
    address: Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.\[\]:-]+:[0-9]{1,5}$", max_length=300)]
    root: Annotated[str, Field(max_length=1000)]
    roles: Annotated[str, Field(max_length=2 << 20)]


def introduced(said: Introduction, now: float) -> Partner:
    """Return the partner that a site becomes by its first word; nobody has confirmed it yet."""
    document = _document(said, said.root, None, now)
    _check_authorities(said, document, now)
    return Partner(
        name=said.site,
        authorities=said.authorities,
        address=said.address,
        root=said.root,
        roles=said.roles,
        state=PartnerState.INVITED,
        since=now,
        changed=now,
        refreshed=now,
    )


def learned(partner: Partner, said: Introduction, now: float) -> Partner:
    """Return the partner as it is by its newest word, which it said itself over the link."""
    if said.site != partner.name:
        raise _other_root(partner.name)
    before = base64.b64decode(partner.roles)
    seen = roles.believed_before(before, partner.name, base64.b64decode(partner.root))
    document = _document(said, partner.root, seen, now)
    if document.root != said.root:
        raise _other_root(partner.name)
    _check_authorities(said, document, now)
    return dataclasses.replace(
        partner,
        authorities=said.authorities,
        address=said.address,
        root=document.root,  # from now on the one that is pinned: what earlier ones sign is not believed
        roles=said.roles,
        refreshed=now,
    )


def _document(said: Introduction, pinned: str, seen: roles.Seen | None, now: float) -> RoleDocument:
    """Return the role document, if the ``pinned`` root signed it, or one that it let follow."""
    try:
        envelope = base64.b64decode(said.roles, validate=True)
        root = base64.b64decode(pinned, validate=True)
    except binascii.Error as error:
        raise _unfit(said.site, "is no base64") from error
    if pinned != said.root and root == roles.root_after(envelope, said.site, root):
        raise _other_root(said.site)
    return roles.believed(envelope, said.site, root, now, seen)


def _other_root(name: str) -> errors.Refused:
    return errors.Refused(
        "partner.root.other",
        f"Who speaks for {name} names a root that the one that was exchanged did not let follow.",
        field="partner",
        remedy="Ask its operator. If it was set up anew, revoke it, forget it, and invite it again.",
    )


def _check_authorities(said: Introduction, document: RoleDocument, now: float) -> None:
    """Raise Refused for an authority that the root does not list, or that could vouch for other sites."""
    listed = {
        key.id()
        for key in document.keys
        if key.role is KeyRole.CA and key.revoked is None and key.valid_from <= now < key.valid_until
    }
    for pem in said.authorities:
        try:
            authority = x509.load_pem_x509_certificate(pem.encode())
            key = authority.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
        except (ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise _unfit(said.site, "has an authority that is not bound to its own names") from error
        if key_id(key) not in listed:
            raise _unfit(said.site, "names an authority that its root does not list")
        uris = [
            name.value
            for name in constraints.permitted_subtrees or ()
            if isinstance(name, x509.UniformResourceIdentifier)
        ]
        if uris != [said.site]:
            raise _unfit(said.site, "has an authority for other names than its own")


def _unfit(site: str, why: str) -> errors.Refused:
    return errors.Refused(
        "partner.introduction.unfit",
        f"{site} {why}.",
        field="partner",
        remedy="Ask its operator which release it runs, and who has access to its control plane.",
    )
