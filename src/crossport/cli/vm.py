"""`crossport vm`: the VMs of a cloud."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.parameter import Many
from crossport.cli.session import Here
from crossport.cli.text import Table, fields, harmless
from crossport.client import calls
from crossport.model.exchange import StopRequest
from crossport.model.request import VmRequest
from crossport.model.vm import VM
from crossport.units import size_text

__all__ = ["app"]

CloudName = Annotated[str, Parameter(help="The cloud, as `crossport cloud list` shows it.")]
VmName = Annotated[str, Parameter(help="The VM's name or id.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the VM shall have."""

    image: Annotated[str, Parameter(help="The image its first disk is a copy of.")]
    flavor: Annotated[str, Parameter(help="Its size.")]
    network: Annotated[tuple[str, ...], Parameter(negative=(), help="A network to be in; repeatable.")]
    group: Annotated[Many, Parameter(help="A security group; repeatable. Without one: default.")] = ()
    key: Annotated[Many, Parameter(help="A key pair; repeatable.")] = ()
    zone: Annotated[str, Parameter(help="The zone.")] = ""
    firmware: Annotated[Literal["bios", "uefi"], Parameter(help="The firmware.")] = "bios"
    tpm: Annotated[bool, Parameter(negative=(), help="With a TPM.")] = False
    autostart: Annotated[
        bool, Parameter(negative=(), help="Start it by itself when the cloud's machine has booted.")
    ] = False


app = App(name="vm", help="List, make, start, stop and delete VMs.")


@app.command(name="list")
def list_(cloud: CloudName, /, *, session: Here) -> None:
    """List the VMs of a cloud.

    For example:

      crossport vm list alpha
    """
    vms = session.all(lambda after: calls.vms(cloud, after))
    rows = tuple(
        (
            vm.name,
            vm.id,
            _state(vm),
            vm.flavor,
            str(vm.cpus),
            size_text(vm.memory),
            _disks(vm),
            _addresses(vm),
        )
        for vm in vms
    )
    headers = ("NAME", "ID", "STATE", "FLAVOR", "CPUS", "MEMORY", "DISKS", "ADDRESSES")
    session.out.result(vms, Table(headers, rows, right=frozenset({"CPUS", "MEMORY", "DISKS"})))


@app.command
def show(cloud: CloudName, vm: VmName, /, *, session: Here) -> None:
    """Show a VM with its disks and NICs.

    For example:

      crossport vm show alpha web
    """
    found = session.send(calls.vm(cloud, vm))
    session.out.result(found, *_tables(found))


@app.command
def create(cloud: str, name: str, /, *, wish: Annotated[_Wish, Parameter(name="*")], session: Here) -> None:
    """Make a VM from an image of the cloud, and start it.

    For example:

      crossport vm create alpha web --image debian-12 --flavor small --network lan --key ops

    Parameters
    ----------
    cloud
        The cloud.
    name
        What the VM shall be called.
    """
    request = VmRequest(
        name=name,
        image=wish.image,
        flavor=wish.flavor,
        networks=wish.network,
        security_groups=wish.group or ("default",),
        keys=wish.key,
        zone=wish.zone,
        firmware=wish.firmware,
        tpm=wish.tpm,
        autostart=wish.autostart,
    )
    vm = session.send(calls.create_vm(cloud, request, session.machine.new_key()))
    session.out.result(vm, *_tables(vm))


@app.command
def start(cloud: CloudName, vm: VmName, /, *, session: Here) -> None:
    """Start a VM. One that was migrated away is fenced, and refused.

    For example:

      crossport vm start alpha web
    """
    found = session.send(calls.start_vm(cloud, vm))
    session.out.result(found, *_tables(found))


@app.command
def stop(
    cloud: CloudName,
    vm: VmName,
    /,
    *,
    shutdown: Annotated[float, Parameter(help="Seconds to wait for a graceful shutdown.")] = 90.0,
    power_off: Annotated[bool, Parameter(negative=(), help="Pull the plug when these are over.")] = False,
    session: Here,
) -> None:
    """Shut a VM down.

    For example:

      crossport vm stop alpha web

      crossport vm stop alpha web --shutdown 30 --power-off
    """
    request = StopRequest(shutdown_s=shutdown, power_off=power_off)
    found = session.send(calls.stop_vm(cloud, vm, request))
    session.out.result(found, *_tables(found))


@app.command
def delete(
    vm: VmName,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from", help="The cloud it is in.")],
    force_off: Annotated[bool, Parameter(negative=(), help="Take its power away first.")] = False,
    yes: Annotated[bool, Parameter(negative=(), help="Delete without asking again.")] = False,
    session: Here,
) -> None:
    """Delete a VM with its disks, for ever. A kept source, or one that is being migrated, is refused.

    What would be deleted is printed first; then you are asked, unless --yes is given.

    For example:

      crossport vm delete web --from alpha

      crossport vm delete web --from alpha --force-off --yes
    """
    preview = session.send(calls.deletion(from_, vm, force_off=force_off))
    if not yes:
        if not session.out.as_json:
            session.out.table(Table(("WILL BE DELETED",), tuple((thing,) for thing in preview.things)))
        if session.ask("Delete these for ever? Type yes: ") != "yes":
            raise errors.Cancelled(
                "vm.delete.unconfirmed", "Nothing was deleted.", remedy="Confirm, or add --yes."
            )
    done = session.send(calls.delete_vm(from_, vm, force_off=force_off))
    session.out.result(done, Table(("DELETED",), tuple((thing,) for thing in done.things)))


@app.command
def console(cloud: CloudName, vm: VmName, /, *, session: Here) -> None:
    """Print the end of a VM's console log. Control characters of the guest are not passed on.

    For example:

      crossport vm console alpha web
    """
    log = session.send(calls.console(cloud, vm))
    if session.out.as_json:
        session.out.json(log)
    else:
        session.out.stdout.write(harmless(log.text))


def _state(vm: VM) -> str:
    words = [vm.busy or vm.power.value]
    words += ["stands still"] if vm.halted else []
    words += ["fenced"] if vm.fenced else []
    words += ["quarantined"] if vm.quarantined else []
    return ", ".join(words)


def _disks(vm: VM) -> str:
    return size_text(sum(disk.size for disk in vm.disks))


def _addresses(vm: VM) -> str:
    return " ".join(address.partition("/")[0] for nic in vm.nics for address in nic.addresses)


def _tables(vm: VM) -> list[Table]:
    disks = tuple(
        (
            disk.name,
            disk.id,
            size_text(disk.size),
            size_text(disk.allocated) if disk.allocated is not None else "",
            disk.bus.value,
            ", ".join(word for word, there in (("boot", disk.boot), ("seed", disk.seed)) if there),
        )
        for disk in vm.disks
    )
    nics = tuple(
        (
            nic.mac,
            nic.network,
            nic.model.value,
            " ".join((*nic.addresses, *(f"{one} (floating)" for one in nic.floating))),
            " ".join(nic.security_groups),
        )
        for nic in vm.nics
    )
    return [
        fields(
            f"VM {vm.name}",
            ("id", vm.id),
            ("state", _state(vm)),
            ("stands still", vm.halted),
            ("special", ", ".join(vm.special)),
            ("project", vm.project),
            ("zone", vm.zone),
            ("flavor", f"{vm.flavor} ({vm.cpus} CPU{'s' if vm.cpus != 1 else ''}, {size_text(vm.memory)})"),
            ("firmware", vm.firmware.value + (", TPM" if vm.tpm else "")),
            ("keys", ", ".join(vm.keys)),
            ("tags", " ".join(f"{name}={value}" for name, value in sorted(vm.tags.items()))),
        ),
        Table(("DISK", "ID", "SIZE", "DATA", "BUS", ""), disks, "Disks", right=frozenset({"SIZE", "DATA"})),
        Table(("MAC", "NETWORK", "MODEL", "ADDRESSES", "SECURITY GROUPS"), nics, "NICs"),
    ]
