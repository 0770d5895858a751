"""`crossport image`: inspect, convert, import and export images and packages here. These need no site."""

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.parameter import Many
from crossport.cli.report import finding_table
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.formats import OnProgress, Source
from crossport.convert.inspection import Format, Inspection
from crossport.convert.package import (
    Package,
    convert_file,
    export_package,
    import_package,
    inspect_file,
    inspect_package,
)
from crossport.model.finding import Finding, Severity
from crossport.units import MIB, seconds_text, size_text

__all__ = ["Accept", "Stated", "app", "progress_text", "teller"]

app = App(name="image", help="Inspect, convert and certify images, and bring them into clouds.")

T = TypeVar("T")

PACKAGES = (".ova", ".ovf")
Stated = Annotated[
    Format | None, Parameter(name="--format", help="What the file is; without it, its content decides.")
]
Accept = Annotated[Many, Parameter(help="The code of a decision you agree to; repeatable.")]


@app.command
def inspect(file: Path, /, *, stated: Stated = None, session: Here) -> int:
    """Say what an image or a package is, and what stands against it. No outside tool touches it.

    Exit status 7 when it would be refused.

    For example:

      crossport image inspect disk.qcow2

      crossport image inspect appliance.ova --json

    Parameters
    ----------
    file
        An image, .ova or .ovf.
    """
    if file.suffix.lower() in PACKAGES:
        package = inspect_package(file)
        session.out.result(_package(package), *_package_tables(file, package))
        findings = package.findings
    else:
        inspection = inspect_file(file, stated=stated)
        session.out.result(_inspection(inspection), *_inspection_tables(file, inspection))
        findings = inspection.findings
    refused = any(finding.severity is Severity.BLOCKER for finding in findings)
    return errors.Refused.exit_code if refused else 0


@app.command
def convert(
    source: Path,
    target: Path,
    /,
    *,
    to: Annotated[Format, Parameter(help="The form of the new image.")],
    stated: Stated = None,
    accept: Accept = (),
    session: Here,
) -> None:
    """Convert an image. It is inspected first and refused when it is hostile; nothing is overwritten.

    For example:

      crossport image convert disk.vmdk disk.qcow2 --to qcow2

      crossport image convert disk.raw disk.vhd --to vhd-fixed --format raw

    Parameters
    ----------
    source
        The image.
    target
        The new file.
    """
    done = _finished(
        convert_file(source, target, to, stated=stated, accept=accept, on_progress=teller(session))
    )
    session.out.result(
        {"path": str(done.path), "format": str(done.format), "size": done.size, "file_size": done.file_size},
        fields(
            "",
            ("made", str(done.path)),
            ("format", str(done.format)),
            ("size", size_text(done.size)),
            ("file", size_text(done.file_size)),
        ),
    )


@app.command(name="import")
def import_(
    source: Path,
    directory: Path,
    /,
    *,
    to: Annotated[Format, Parameter(help="The form of the images.")] = Format.QCOW2,
    accept: Accept = (),
    session: Here,
) -> None:
    """Bring a package (.ova, .ovf), or a single image, into a directory as images.

    For example:

      crossport image import appliance.ova imported/

    Parameters
    ----------
    source
        The package.
    directory
        Where the images go.
    """
    done = _finished(import_package(source, directory, kind=to, accept=accept, on_progress=teller(session)))
    value = {
        "appliance": asdict(done.appliance),
        "disks": [str(path) for path in done.disks],
        "findings": _findings(done.findings),
    }
    made = Table(("MADE",), tuple((str(path),) for path in done.disks))
    session.out.result(value, _appliance(done.appliance), made, finding_table(done.findings))


@app.command
def export(
    target: Path,
    /,
    *images: Path,
    name: Annotated[str, Parameter(help="The VM's name in the package.", show_default=False)] = "",
    cpus: Annotated[int, Parameter(help="Processors.")] = 1,
    memory: Annotated[int, Parameter(help="Memory in MiB.")] = 1024,
    version: Annotated[Literal[1, 2], Parameter(help="Of OVF.")] = 1,
    session: Here,
) -> None:
    """Write images as a package: .ova is one file, .ovf a descriptor with files beside it.

    For example:

      crossport image export web.ova web-root.qcow2 web-data.qcow2 --cpus 2 --memory 4096

    Parameters
    ----------
    target
        The package, .ova or .ovf.
    images
        The disks in the guest's order.
    """
    for field, figure in (("images", len(images)), ("--cpus", cpus), ("--memory", memory)):
        if figure < 1:
            raise errors.Invalid(
                "image.export.few", "A VM has at least one of these.", field=field, remedy="Say how many."
            )
    sources = [Source(path, None) for path in images]
    disks = tuple(
        ApplianceDisk(id=f"disk{number}", size=inspect_file(path).virtual_size)
        for number, path in enumerate(images, 1)
    )
    appliance = Appliance(name or target.stem, cpus, memory * MIB, disks=disks)
    done = _finished(export_package(appliance, sources, target, version=version, on_progress=teller(session)))
    session.out.result({"path": str(done)}, fields("", ("made", str(done))))


def _finished(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def teller(session: Session) -> OnProgress:
    """Return what shows progress: on a terminal one line that is written again, elsewhere nothing."""
    begun: dict[str, float] = {}

    def tell(step: str, share: float) -> None:
        if session.machine.stderr.isatty() and not session.out.as_json:
            now = session.machine.wall()
            text = progress_text(step, share, now - begun.setdefault(step, now))
            # To the end of the line: what was there before may have been longer.
            session.machine.stderr.write(f"\r{text}\x1b[K" + ("\n" if share >= 1 else ""))
            session.machine.stderr.flush()

    return tell


def progress_text(step: str, share: float, elapsed_s: float) -> str:
    """Return how far a step is, and when enough of it is done to say so, how long it will take yet."""
    text = f"{step}: {100 * share:3.0f} %"
    if 0.02 < share < 1 and elapsed_s >= 1:
        text += f", {seconds_text(elapsed_s * (1 - share) / share)} left"
    return text


def _findings(findings: tuple[Finding, ...]) -> list[dict[str, Any]]:
    return [asdict(each) for each in findings]


def _inspection(inspection: Inspection) -> dict[str, Any]:
    return {
        "format": str(inspection.format) if inspection.format else None,
        "virtual_size": inspection.virtual_size,
        "details": dict(inspection.details),
        "findings": _findings(inspection.findings),
    }


def _package(package: Package) -> dict[str, Any]:
    return {
        "appliance": asdict(package.appliance),
        "version": package.version,
        "disks": [{"file": disk.file, **_inspection(image)} for disk, _, image in package.disks],
        "findings": _findings(package.findings),
    }


def _inspection_tables(file: Path, inspection: Inspection) -> list[Table]:
    return [
        fields(
            str(file),
            ("format", str(inspection.format) if inspection.format else "none that we read"),
            ("size", size_text(inspection.virtual_size)),
            *((name.replace("_", " "), str(value)) for name, value in inspection.details.items()),
        ),
        finding_table(inspection.findings),
    ]


def _package_tables(file: Path, package: Package) -> list[Table]:
    rows = tuple(
        (disk.id, disk.file, str(image.format or ""), size_text(disk.size))
        for disk, _, image in package.disks
    )
    return [
        fields(str(file), ("OVF version", str(package.version))),
        _appliance(package.appliance),
        Table(("DISK", "FILE", "FORMAT", "SIZE"), rows, "Disks", right=frozenset({"SIZE"})),
        finding_table(package.findings),
    ]


def _appliance(appliance: Appliance) -> Table:
    return fields(
        f"Appliance {appliance.name}",
        ("CPUs", str(appliance.cpus) if appliance.cpus else "not said"),
        ("memory", size_text(appliance.memory) if appliance.memory else "not said"),
        ("firmware", appliance.firmware.value),
        ("NICs", ", ".join(nic.network for nic in appliance.nics)),
    )
