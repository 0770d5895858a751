"""Whom a site believes beside its own tokens: identity providers, and rules on whom they make a tenant."""

from dataclasses import field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from crossport.model.access import Role
from crossport.model.name import CLOUD, NAME, Name
from crossport.model.record import record
from crossport.model.url import WebUrl

__all__ = [
    "Ceilings",
    "Claims",
    "Details",
    "NewProvider",
    "Provider",
    "SigningAlgorithm",
    "Subject",
    "TrustRule",
]

_Text = Annotated[str, Field(min_length=1, max_length=255)]
_Tenant = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=63)]
_Project = Annotated[str, Field(pattern=CLOUD[:-1] + r"/[^/].*$", max_length=255)]
_Vm = Annotated[str, Field(pattern=r"^[^/.][^/]*$", max_length=255)]

Claims = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=255)], _Text], Field(min_length=1, max_length=16)
]
"""What a token must say, by the claim's name: this text, or a list that has it."""


class SigningAlgorithm(StrEnum):
    """How tokens may be signed (RFC 7518, RFC 9864). All need a key that only the signer has."""

    ES256 = "ES256"
    ES384 = "ES384"
    ED25519 = "Ed25519"
    PS256 = "PS256"
    RS256 = "RS256"


@record()
class Subject:
    """Somebody as an identity provider knows them: ``sub`` says who only together with ``issuer``."""

    issuer: str
    sub: str


@record()
class Ceilings:
    """What a subject may touch of what its role allows, by name; what is empty is not bounded.

    ``projects`` are those of clouds, ``beta/shop``: in other clouds there is nothing for the subject then.
    """

    clouds: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    vms: Annotated[tuple[_Vm, ...], Field(max_length=100)] = ()
    runs: Annotated[tuple[_Text, ...], Field(max_length=100)] = ()
    projects: Annotated[tuple[_Project, ...], Field(max_length=100)] = ()

    def has_project(self, cloud: str, project: str) -> bool:
        """Say whether what lies in this project of ``cloud`` is within."""
        return not self.projects or f"{cloud}/{project}" in self.projects


@record()
class Details(Ceilings):
    """What a token shall be for, in the form of RFC 9396: ceilings, with the type that says whose."""

    type: Literal["crossport-migration"]


@record()
class Provider:
    """An OpenID provider whose access tokens are accepted where a rule says so.

    ``audience`` is what a token must be meant for: this site's own name at the provider. ``algorithms`` are
    the only ones that are believed, ``types`` what a token's header may call it. ``parties`` are the clients
    that may send tokens, all when empty. ``client`` is whom `crossport login` is at the provider, ``scope``
    what it asks for, both told to everybody.

    ``introspector`` is the client as which the site asks whether a token still counts (RFC 7662): whose
    sign-in ended there loses runs here within a minute, while the token lives; and tokens that only the
    provider can read are taken in exchange. Without it nothing is asked.
    """

    name: Name
    issuer: WebUrl
    audience: _Text
    algorithms: Annotated[tuple[SigningAlgorithm, ...], Field(min_length=1, max_length=5)] = tuple(
        SigningAlgorithm
    )
    types: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=4)] = ("at+jwt",)
    parties: Annotated[tuple[_Text, ...], Field(max_length=100)] = ()
    client: Annotated[str, Field(max_length=255)] = ""
    scope: Annotated[str, Field(max_length=255)] = ""
    introspector: Annotated[str, Field(max_length=255)] = ""


@record()
class NewProvider(Provider):
    """A provider as it is added, with the secret of its ``introspector``; that is never told again."""

    secret: Annotated[str, Field(max_length=1024)] = field(default="", repr=False)

    def without_secret(self) -> Provider:
        """Return the provider as it may be seen."""
        return Provider(**{name: getattr(self, name) for name in Provider.__dataclass_fields__})


@record()
class TrustRule:
    """Whoever has a token of ``provider`` with these ``claims`` is ``tenant`` here, in ``role``.

    Of several rules that fit, the first by name decides. Runs that they begin may go on for ``hours``; 0 is
    what the site has set.
    """

    name: Name
    provider: Annotated[str, Field(pattern=NAME, max_length=63)]
    claims: Claims
    tenant: _Tenant
    role: Role
    ceilings: Ceilings = Ceilings()
    hours: Annotated[int, Field(ge=0, le=8760)] = 0
