"""What `crossport image verify` and `show` say of a conversion attestation beside a seal."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.certify.conversion import Attested, verify_conversion
from crossport.certify.disk import InOrder, check_in_order
from crossport.certify.envelope import MAX_ENVELOPE, opened
from crossport.certify.statement import conversion_in
from crossport.certify.verify import Verification, Verified, moment
from crossport.cli.certified_read import guest_chunks
from crossport.cli.parameter import Many
from crossport.cli.text import Table, fields
from crossport.convert.formats import OnProgress, Source
from crossport.model.conversion import Conversion

__all__ = [
    "UNCONVERTED",
    "Attestation",
    "Beside",
    "check_conversion",
    "conversion_tables",
    "counted",
    "shown_conversion",
]

Attestation = Annotated[
    Path | None,
    Parameter(name="--conversion", help="The attestation of its guest conversion.", show_default=False),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What belongs to a guest that was converted."""

    conversion: Attestation = None
    converted: Annotated[
        tuple[Path, ...],
        Parameter(help="A converted disk, as an image; one for each, in the guest's order.", negative=()),
    ] = ()
    tool: Annotated[
        Many, Parameter(help="The SHA-256 of an image whose tool may convert; repeatable. None: any.")
    ] = ()


UNCONVERTED = Beside()


def check_conversion(
    verification: Verification, verified: Verified, beside: Beside, told: OnProgress, accept: Collection[str]
) -> Attested | None:
    """Return the verified attestation, None where none is named; raise Refused at the first fault."""
    if beside.conversion is None:
        if beside.converted or beside.tool:
            raise errors.Invalid(
                "image.conversion.alone",
                "What was converted, or may convert, means nothing without an attestation.",
                field="--converted" if beside.converted else "--tool",
                remedy="Name the attestation, too: --conversion FILE",
            )
        return None
    found = verify_conversion(verification, verified.seal, _attestation(beside.conversion), beside.tool)
    _check_disks(verification, found, (beside.converted, accept), told)
    return found


def _check_disks(
    verification: Verification,
    found: Attested,
    given: tuple[tuple[Path, ...], Collection[str]],
    told: OnProgress,
) -> None:
    """Step 25, of the converted disks that are here."""
    paths, accept = given
    disks = found.conversion.output
    if paths:
        counted(len(disks), paths)
    for path, disk in zip(paths, disks, strict=False):
        chunks = guest_chunks(Source(path, None), disk.chunk_size, told, accept)
        check_in_order(InOrder(disk, "conversion"), chunks)
        verification.passed(25, f"disk {disk.id} is what was converted: {disk.root[:16]}")


def counted(disks: int, named: Collection[Path]) -> None:
    """Raise Invalid unless an image is named for each disk."""
    if len(named) != disks:
        raise errors.Invalid(
            "image.conversion.count",
            f"The guest has {disks} disks, and {len(named)} converted ones are named.",
            field="--converted",
            remedy="Name one image for each disk, in the guest's order.",
        )


def shown_conversion(path: Path) -> tuple[Conversion, str]:
    """Return what an attestation says, and the key that it names. Nothing of it is verified."""
    envelope = opened(_attestation(path), "conversion")
    return conversion_in(envelope.payload), envelope.key_id


def conversion_tables(conversion: Conversion, key: str) -> list[Table]:
    """Return what people read of a conversion: who, by what, and what became of each disk."""
    tool, boot = conversion.tool, conversion.boot
    parameters = ", ".join(f"{one.name}={one.value}" for one in tool.parameters)
    rows = tuple(
        (came.id, came.root[:16], left.root[:16])
        for came, left in zip(conversion.input, conversion.output, strict=True)
    )
    return [
        fields(
            "Guest conversion",
            ("by", f"{conversion.site}, cloud {conversion.cloud}"),
            ("run", conversion.run),
            ("sealed statement", conversion.seal),
            ("tool", f"{tool.name} {tool.version}"),
            ("parameters", parameters),
            ("tool's image", tool.image),
            ("began", moment(conversion.started)),
            ("ended", moment(conversion.finished)),
            ("boot test", boot.outcome.value if boot else "not made"),
            ("key", key),
        ),
        Table(("DISK", "SEALED ROOT", "CONVERTED ROOT"), rows, "Converted disks"),
    ]


def _attestation(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_ENVELOPE + 1)
    except OSError as error:
        raise errors.NotFound(
            "image.conversion.missing",
            f"{path} cannot be read: {error.strerror}.",
            field="--conversion",
            remedy="Name the attestation that the importing site made.",
        ) from error
