"""`crossport cloud`: connect clouds, and see whether they answer and what they offer."""

from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.model.construct import Constructs
from crossport.model.request import CloudEntry, CloudStatus
from crossport.units import size_text

__all__ = ["app", "status_table"]

app = App(name="cloud", help="Make and connect clouds, and see whether they answer.")


@app.command
def add(
    name: str,
    driver: str,
    /,
    *,
    set: Annotated[  # noqa: A002 - the option's own word
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="A setting of the driver as NAME=VALUE; repeatable."),
    ] = (),
    set_file: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            show_default=False,
            help="A setting whose value is read from a file, NAME=FILE: for secrets.",
        ),
    ] = (),
    session: Here,
) -> int:
    """Connect a cloud and keep it.

    Secrets belong into files: arguments are seen by every account of this machine.

    For example:

      crossport cloud add alpha local

      crossport cloud add east openstack --set cloud=east --set-file clouds-yaml=clouds.yaml

    Parameters
    ----------
    name
        What you want to call the cloud.
    driver
        The kind of cloud: local, memory, openstack, or another installed driver.
    """
    settings = dict(_pair(each, "--set") for each in set)
    settings |= {name: _content(path) for name, path in (_pair(each, "--set-file") for each in set_file)}
    status = session.send(calls.add_cloud(CloudEntry(name=name, driver=driver, settings=settings)))
    session.out.result(status, status_table(status))
    return 0 if status.good else errors.Unavailable.exit_code


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List the clouds.

    For example:

      crossport cloud list

      crossport cloud list --json
    """
    clouds = session.all(calls.clouds)
    rows = tuple((cloud.name, cloud.driver, _settings(cloud)) for cloud in clouds)
    session.out.result(clouds, Table(("NAME", "DRIVER", "SETTINGS"), rows))


@app.command
def show(name: str, /, *, session: Here) -> None:
    """Show what a VM can be mapped to in a cloud: flavors, networks, security groups, quota.

    For example:

      crossport cloud show beta

    Parameters
    ----------
    name
        The cloud.
    """
    offer = session.send(calls.constructs(name))
    session.out.result(offer, *_offer(offer))


@app.command
def check(name: str, /, *, session: Here) -> int:
    """Ask a cloud now whether it answers, and what it can do.

    For example:

      crossport cloud check alpha

    Parameters
    ----------
    name
        The cloud.
    """
    status = session.send(calls.check_cloud(name))
    session.out.result(status, status_table(status))
    return 0 if status.good else errors.Unavailable.exit_code


@app.command
def remove(name: str, /, *, session: Here) -> None:
    """Forget a cloud. Nothing in the cloud itself is touched.

    For example:

      crossport cloud remove alpha

    Parameters
    ----------
    name
        The cloud.
    """
    session.send(calls.remove_cloud(name))
    session.out.result({"removed": name}, fields("", ("removed", name)))


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise errors.Invalid(
            "cli.option.pair", f"{text!r} is not NAME=VALUE.", field=option, remedy="Write NAME=VALUE."
        )
    return name, value


def _content(path: str) -> str:
    from pathlib import Path  # noqa: PLC0415

    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise errors.Invalid(
            "cli.file.unreadable",
            f"{path} cannot be read: {error.strerror}.",
            field="--set-file",
            remedy="Correct the path.",
        ) from error


def _settings(cloud: CloudEntry) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(cloud.settings.items()))


def status_table(status: CloudStatus) -> Table:
    """Return what a cloud said, for people."""
    return fields(
        "",
        ("cloud", status.entry.name),
        ("driver", status.entry.driver),
        ("answers", "yes" if status.good else "no"),
        ("says", status.text),
        ("can", ", ".join(status.abilities)),
    )


def _offer(offer: Constructs) -> list[Table]:
    flavors = tuple(
        (each.name, str(each.cpus), size_text(each.memory), size_text(each.disk) if each.disk else "any")
        for each in offer.flavors
    )
    networks = tuple(
        (each.name, each.cidr, "reserved" if each.reserved else "isolated" if each.isolated else "")
        for each in offer.networks
    )
    free = offer.free
    figures = frozenset({"CPUS", "MEMORY", "DISK"})
    return [
        fields(
            f"Cloud {offer.cloud}",
            ("project", offer.project),
            ("zones", ", ".join(offer.zones)),
            ("security groups", ", ".join(group.name for group in offer.security_groups)),
            ("keys", ", ".join(key.name for key in offer.keys)),
            ("storage classes", ", ".join(offer.storage_classes)),
            ("firmware", ", ".join(offer.firmwares)),
            (
                "free",
                f"{free.vms} VMs, {free.cpus} CPUs, {size_text(free.memory)}, {size_text(free.disk)} disk",
            ),
            ("disk free", size_text(offer.disk_free)),
            *(("note", note) for note in offer.notes),
        ),
        Table(("FLAVOR", "CPUS", "MEMORY", "DISK"), flavors, "Flavors", figures),
        Table(("NETWORK", "CIDR", "USE"), networks, "Networks"),
    ]
