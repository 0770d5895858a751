"""The words of the embedded cloud's own small API: what is asked, what is answered, how an error crosses.

Bodies are JSON of our own models. Version 1; the path says so.
"""

from crossport import errors
from crossport.model.artifact import ExportPoint, Marks
from crossport.model.health import Probe
from crossport.model.record import record
from crossport.model.run import Act, Created
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM, RoomFor
from crossport.units import size_text

__all__ = [
    "VERSION",
    "AboutCloud",
    "Acted",
    "AskChanges",
    "AskCreate",
    "AskExport",
    "AskImages",
    "AskInstantiate",
    "AskPrepare",
    "AskProbe",
    "AskRemove",
    "AskShutDown",
    "AskSnapshot",
    "Fault",
    "deleted_words",
    "error_of",
    "fault_of",
]

VERSION = "v1"


@record()
class Fault:
    """An error as it crosses: its class by name, and what it carries."""

    kind: str
    code: str
    text: str
    remedy: str = ""
    field: str = ""


@record()
class AboutCloud:
    """What answers: process ``pid`` of cloud ``id``. ``orphans``: processes that its state does not know."""

    name: str
    version: str
    vms: int
    accelerator: str
    accelerator_reason: str
    pid: int
    id: str = ""
    notes: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


@record()
class Acted:
    """A change that needs nothing but its act."""

    act: Act


@record()
class AskShutDown:
    """See Power.shut_down."""

    act: Act
    timeout_s: float


@record()
class AskExport:
    """See Exporter.export."""

    act: Act
    point: ExportPoint


@record()
class AskChanges:
    """See ChangeTracker.export_changes."""

    act: Act
    point: ExportPoint
    marks: Marks


@record()
class AskImages:
    """See Publisher.open_images."""

    act: Act
    ids: tuple[str, ...]
    project: str = ""


@record()
class AskPrepare:
    """See Importer.prepare_import."""

    act: Act
    rooms: tuple[RoomFor, ...]


@record()
class AskInstantiate:
    """See Importer.instantiate."""

    act: Act
    new: NewVM


@record()
class AskRemove:
    """See Importer.remove."""

    act: Act
    thing: Created


@record()
class AskCreate:
    """See Provisioner.create_vm."""

    act: Act
    vm: VM
    image: str
    power_on: bool = True


@record()
class AskProbe:
    """See Prober.probe."""

    probe: Probe


@record()
class AskSnapshot:
    """Keep the present state of the VM's disks under a name."""

    act: Act
    name: str


def deleted_words(vm: VM) -> tuple[str, ...]:
    """Say what deleting the VM deletes: before it is done, and after."""
    disks = (f"disk {disk.name} ({size_text(disk.size)})" for disk in vm.disks if not disk.used_by)
    return (f"VM {vm.name} ({vm.id})", *disks)


def fault_of(error: errors.Error) -> Fault:
    """Return the error as it crosses."""
    return Fault(
        kind=type(error).__name__, code=error.code, text=error.text, remedy=error.remedy, field=error.field
    )


def error_of(fault: Fault) -> errors.Error:
    """Return the error that crossed; of a kind that is not known, Broken."""
    kind = getattr(errors, fault.kind, None) if fault.kind in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, errors.Error)):
        kind = errors.Broken
    return kind(fault.code, fault.text, remedy=fault.remedy, field=fault.field)
