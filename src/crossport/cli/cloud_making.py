"""`crossport cloud create` and `destroy`: embedded clouds on the site's own machine."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cyclopts import Parameter

from crossport import errors
from crossport.cli.cloud import app, status_table
from crossport.cli.parameter import Many
from crossport.cli.session import Here
from crossport.cli.text import Table
from crossport.client import calls
from crossport.model.construct import KeyPair, Network, Quota
from crossport.model.request import CloudRequest
from crossport.units import GIB

__all__ = ["app", "create", "destroy"]

USUAL = Quota(vms=50, cpus=64, memory=64 * GIB, disk=1024 * GIB)
"""What a project of an embedded cloud may use unless it is said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the cloud shall be like."""

    network: Annotated[
        Many, Parameter(help="A network as NAME=CIDR; repeatable. Without one: private=10.20.0.0/24.")
    ] = ()
    zone: Annotated[Many, Parameter(help="A zone; repeatable. Without one: zone-1.")] = ()
    key: Annotated[Many, Parameter(help="A public key as NAME=FILE; repeatable.")] = ()
    vms: Annotated[int, Parameter(help="How many VMs it takes.")] = USUAL.vms
    cpus: Annotated[int, Parameter(help="How many processors these have together.")] = USUAL.cpus
    memory_gib: Annotated[int, Parameter(help="How much memory, in GiB.")] = USUAL.memory // GIB
    disk_gib: Annotated[int, Parameter(help="How much disk, in GiB.")] = USUAL.disk // GIB
    isolation: Annotated[
        Literal["auto", "enforced", "user"],
        Parameter(help="Networks with enforced rules (the server runs as root), or user-mode ones."),
    ] = "auto"


@app.command
def create(name: str, /, *, wish: Annotated[_Wish, Parameter(name="*")] = _Wish(), session: Here) -> None:
    """Make an embedded cloud on the server's machine and connect it.

    It needs no other server. Bring an image in next: crossport image upload.

    For example:

      crossport cloud create lab

      crossport cloud create lab --network office=10.5.0.0/24 --network dmz=10.6.0.0/24 --vms 10

    Parameters
    ----------
    name
        What you want to call the cloud.
    """
    request = CloudRequest(
        name=name,
        networks=tuple(_network(each) for each in wish.network),
        keys=tuple(_key(each) for each in wish.key),
        quota=Quota(vms=wish.vms, cpus=wish.cpus, memory=wish.memory_gib * GIB, disk=wish.disk_gib * GIB),
        isolation=wish.isolation,
    )
    if wish.zone:
        request = replace(request, zones=wish.zone)
    status = session.send(calls.create_cloud(request))
    session.out.result(status, status_table(status))


@app.command
def destroy(
    name: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Remove without asking again.")] = False,
    session: Here,
) -> None:
    """Remove an embedded cloud with its images, for ever. Refused while it has VMs, kept sources included.

    What would be removed is printed first; then you are asked, unless --yes is given.

    For example:

      crossport cloud destroy lab

      crossport cloud destroy lab --yes

    Parameters
    ----------
    name
        The cloud.
    """
    preview = session.send(calls.destruction(name))
    if not yes:
        if not session.out.as_json:
            session.out.table(Table(("WILL BE REMOVED",), tuple((thing,) for thing in preview.things)))
        if session.ask("Remove these for ever? Type yes: ") != "yes":
            raise errors.Cancelled(
                "cloud.destroy.unconfirmed", "Nothing was removed.", remedy="Confirm, or add --yes."
            )
    done = session.send(calls.destroy_cloud(name))
    session.out.result(done, Table(("REMOVED",), tuple((thing,) for thing in done.things)))


def _network(text: str) -> Network:
    from ipaddress import ip_network  # noqa: PLC0415

    name, cidr = _pair(text, "--network", "NAME=CIDR")
    try:
        block = ip_network(cidr)
        gateway = str(block[1])
    except (ValueError, IndexError) as error:
        raise errors.Invalid(
            "cli.network.cidr",
            f"{cidr} is no network: {error}.",
            field="--network",
            remedy="Write for example office=10.5.0.0/24.",
        ) from error
    return Network(name=name, cidr=cidr, gateway=gateway)


def _key(text: str) -> KeyPair:
    from pathlib import Path  # noqa: PLC0415

    name, path = _pair(text, "--key", "NAME=FILE")
    try:
        return KeyPair(name=name, public_key=Path(path).read_text().strip(), fingerprint="")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Invalid(
            "cli.file.unreadable",
            f"{path} cannot be read.",
            field="--key",
            remedy="Correct the path.",
        ) from error


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise errors.Invalid(
            "cli.option.pair", f"{text!r} is not {form}.", field=option, remedy=f"Write {form}."
        )
    return name, value
