"""What a site asks of a certified image before it comes in: one declarative file for each site."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = [
    "POLICY_VERSION",
    "ForbiddenPackage",
    "ImportPolicy",
    "ImportPolicyRequest",
    "KeptImportPolicy",
    "OwnCheck",
    "Partner",
]

POLICY_VERSION = 1
Word = Annotated[str, Field(min_length=1, max_length=200)]
Hours = Annotated[float, Field(gt=0, le=24 * 3660, allow_inf_nan=False)]
Gib = Annotated[int, Field(gt=0, le=1 << 30)]
Words = Annotated[tuple[Word, ...], Field(max_length=200)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class OwnCheck(StrEnum):
    """What the importing site looks at itself before a guest leaves quarantine, whatever the seal says."""

    PACKAGES = "packages"
    """The guest's packages, as this site reads them, against those that are forbidden."""
    MALWARE = "malware"
    """The guest's files, by a scanner."""


@record()
class Partner:
    """A site whose seals are admitted; the site's own seals need such an entry, too.

    Empty ``keys`` (ids) admit every key that the keyring holds for it, empty ``clouds`` every cloud of it.
    Checks and age are asked for besides what the policy asks of everybody.
    """

    site: Word
    keys: Annotated[tuple[Digest, ...], Field(max_length=200)] = ()
    clouds: Words = ()
    required_checks: Words = ()
    max_age_hours: Hours | None = None


@record()
class ForbiddenPackage:
    """A package that no imported guest may hold: a name or a purl, and versions, each with ``*`` and ``?``.

    A purl need not have a version. Without versions, every one is forbidden.
    """

    name: Word
    versions: Words = ()
    why: Annotated[str, Field(max_length=500)] = ""


@record()
class ImportPolicy:
    """The rules of ``site``. Whatever is not admitted is refused.

    ``required_checks`` are those of the exporting site: the seal must say that they passed. ``own_checks``
    this site makes itself; without them no guest leaves quarantine. ``formats`` are the forms in which disks
    may come (``raw``, ``vmdk-stream``, …); empty admits all that can be read. ``conversion_tools`` are the
    images (SHA-256) whose tool may convert a guest; empty admits any.
    """

    version: Annotated[int, Field(ge=1, le=POLICY_VERSION)] = POLICY_VERSION
    site: Word
    partners: Annotated[tuple[Partner, ...], Field(max_length=1000)] = ()
    required_checks: Words = ()
    own_checks: Annotated[tuple[OwnCheck, ...], Field(max_length=10)] = ()
    max_age_hours: Hours = 168.0
    formats: Words = ()
    max_disk_gib: Gib = 64 * 1024
    max_image_gib: Gib = 256 * 1024
    sbom_required: bool = False
    forbidden_packages: Annotated[tuple[ForbiddenPackage, ...], Field(max_length=1000)] = ()
    conversion_tools: Annotated[tuple[Digest, ...], Field(max_length=200)] = ()


@record()
class KeptImportPolicy:
    """The policy that a site works by. ``generation`` counts how often it was set; 0: never, so it is the one
    that a site begins with."""

    policy: ImportPolicy
    generation: Annotated[int, Field(ge=0)] = 0


@record()
class ImportPolicyRequest:
    """A policy in place of the one with ``generation``; without it, of whichever there is."""

    policy: ImportPolicy
    generation: Annotated[int, Field(ge=0, le=1 << 53)] | None = None
