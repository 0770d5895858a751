"""What a site asks of a certified image before it comes in: one declarative file for each site."""

from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = ["POLICY_VERSION", "ForbiddenPackage", "ImportPolicy", "Partner"]

POLICY_VERSION = 1
Word = Annotated[str, Field(min_length=1, max_length=200)]
Hours = Annotated[float, Field(gt=0, le=24 * 3660, allow_inf_nan=False)]
Gib = Annotated[int, Field(gt=0, le=1 << 30)]


@record()
class Partner:
    """A site whose seals are admitted; the site's own seals need such an entry, too.

    Empty ``keys`` (ids) admit every key that the keyring holds for it, empty ``clouds`` every cloud of it.
    Checks and age are asked for besides what the policy asks of everybody.
    """

    site: Word
    keys: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    clouds: tuple[Word, ...] = ()
    required_checks: tuple[Word, ...] = ()
    max_age_hours: Hours | None = None


@record()
class ForbiddenPackage:
    """A package that no imported guest may hold: a name or a purl, and versions, each with ``*`` and ``?``.

    A purl need not have a version. Without versions, every one is forbidden.
    """

    name: Word
    versions: tuple[Word, ...] = ()
    why: str = ""


@record()
class ImportPolicy:
    """The rules of ``site``. Whatever is not admitted is refused; a check that is required must have passed.

    ``formats`` are the forms in which disks may come (``raw``, ``vmdk-stream``, …); empty admits all that can
    be read.
    """

    version: int = POLICY_VERSION
    site: Word
    partners: tuple[Partner, ...] = ()
    required_checks: tuple[Word, ...] = ()
    max_age_hours: Hours = 168.0
    formats: tuple[Word, ...] = ()
    max_disk_gib: Gib = 64 * 1024
    max_image_gib: Gib = 256 * 1024
    sbom_required: bool = False
    forbidden_packages: tuple[ForbiddenPackage, ...] = ()
