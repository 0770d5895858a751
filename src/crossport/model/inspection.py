"""What a site finds when it looks into a guest: one for its seal, or one that takes it in for itself."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.certified import Check
from crossport.model.import_policy import OwnCheck
from crossport.model.record import record

__all__ = [
    "Guest",
    "GuestFacts",
    "GuestPackage",
    "Inspected",
    "LookMode",
    "PackageKind",
    "Surveyed",
    "Unable",
]

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,300}$")]
Fact = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,253}$")]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f]{1,300}$")]


class PackageKind(StrEnum):
    """Whose package it is, in the words of purl."""

    DEB = "deb"
    RPM = "rpm"
    APK = "apk"


@record()
class GuestPackage:
    """A package that the guest's own database calls installed."""

    kind: PackageKind
    name: Name
    version: Name
    architecture: Text = ""


@record()
class Guest:
    """What a guest's disks say of it. Empty is what they do not say.

    ``system`` and ``release`` are ID and VERSION_ID of os-release, ``title`` its PRETTY_NAME. ``listed`` says
    that there was a database of packages. ``unread`` are the parts of disks that nothing here can read,
    ``scanned`` counts the files that were scanned for malware.
    """

    system: Text = ""
    release: Text = ""
    title: Text = ""
    hostname: Text = ""
    listed: bool = False
    packages: tuple[GuestPackage, ...] = ()
    unread: tuple[Text, ...] = ()
    scanned: int = 0


@record()
class Inspected:
    """What the target's site found in the guest that arrived; not ``made`` when its policy asks for nothing.

    ``sbom`` is the SHA-256 of the SBOM that it made and keeps, ``differing`` how many packages the sealed one
    names otherwise, ``otherwise`` which facts the sealed descriptor tells otherwise; empty where it was not
    asked for the packages. ``scanned`` counts the files that it had scanned for malware; 0 where it was not
    asked. ``steps`` and ``scan_steps`` say in words what was checked.
    """

    made: bool = False
    title: str = ""
    hostname: str = ""
    package_count: int = 0
    sbom: str = ""
    differing: int = 0
    otherwise: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    scanned: int = 0
    scan_steps: tuple[str, ...] = ()


class LookMode(StrEnum):
    """Whether a site looks into the guests that leave it, so that its seal tells what is in them."""

    AUTO = "auto"
    """Where it can, and where that does not make an outage longer that is to be short."""
    NEVER = "never"
    REQUIRED = "required"
    """It seals no guest whose packages it could not read."""


@record()
class GuestFacts:
    """What the descriptor of an image says of the guest. What is not known is empty, or None.

    ``system``, ``release`` and ``title`` are as in `Guest`, ``architecture`` as its packages say. ``agent``:
    whether QEMU's guest agent is installed.
    """

    system: Fact = ""
    release: Fact = ""
    title: Fact = ""
    architecture: Fact = ""
    hostname: Fact = ""
    agent: bool | None = None


@record()
class Surveyed:
    """What the source's site found in the guest that leaves; not ``made`` when it did not look.

    ``sbom`` is the SHA-256 of the SBOM that goes into the seal, empty without one. ``checks`` are those that
    the seal will tell of. ``why`` says why the look was not made to its end.
    """

    made: bool = False
    title: str = ""
    hostname: str = ""
    package_count: int = 0
    sbom: str = ""
    checks: tuple[Check, ...] = ()
    why: str = ""

    def words(self) -> str:
        """Return it in words."""
        if not self.made:
            return f"not looked into: {self.why}"
        packages = (f"{self.package_count} packages", "sealed SBOM") if self.sbom else (self.why,)
        scans = (f"{one.name} {one.outcome.value}" for one in self.checks if one.name == "malware")
        return ", ".join((self.title or "an unknown system", *packages, *scans))


@record()
class Unable:
    """A check that the site's import policy asks for and that it cannot make now, why, and what to do."""

    check: OwnCheck
    why: str
    remedy: str
