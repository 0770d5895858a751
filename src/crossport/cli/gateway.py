"""`crossport gateway`: let gateways join the site, run one, see them, drain and remove them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.private import claimed
from crossport.cli.session import Here, Session
from crossport.cli.surroundings import GatewayOptions
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.model.gateway import EnrollRequest, Gateway

__all__ = ["app"]

app = App(name="gateway", help="Let gateways join, run one, see and remove them.")
POLL_S = 1.0
AWAY_S = 20.0
"""How long a gateway that is drained may be away before it is given up; it may be just reconnecting."""


@app.command
def enroll(
    cloud: str,
    subnet: Literal["VMExportSubnet", "VMImportSubnet"],
    /,
    *,
    file: Annotated[Path, Parameter(help="Where to write what the new gateway needs; only you can read it.")],
    session: Here,
) -> None:
    """Let one new gateway join the site within ten minutes.

    Carry the file to the gateway's machine and run there the command that is printed. The file is good once.

    For example:

      crossport gateway enroll alpha VMExportSubnet --file alpha-export.join

    Parameters
    ----------
    cloud
        The cloud in which the gateway sits.
    subnet
        The reserved subnet.
    """
    with claimed(file):
        enrolment = session.send(calls.enroll_gateway(EnrollRequest(cloud=cloud, subnet=subnet)))
    file.write_text(enrolment.join + "\n")
    command = f"crossport gateway run --join {file.name} --authority {enrolment.fingerprint}"
    minutes = round((enrolment.expires - session.machine.wall()) / 60)
    told = {"gateway": enrolment.gateway, "file": str(file), "expires": enrolment.expires, "command": command}
    session.out.result(
        told,
        fields(
            "",
            ("gateway", enrolment.gateway),
            ("seat", f"{cloud} {subnet}"),
            ("join with", str(file)),
            ("good", f"once, for {minutes} min"),
            ("run there", command),
        ),
    )


@app.command
def run(
    *,
    join: Annotated[
        str,
        Parameter(
            help="The file of `gateway enroll`, - for standard input.",
            show_default=False,
            allow_leading_hyphen=True,
        ),
    ] = "",
    authority: Annotated[
        str, Parameter(help="The fingerprint of the site's CA, as enroll printed it.", show_default=False)
    ] = "",
    gateway: Annotated[
        str, Parameter(help="Which gateway of this machine, when there are several.", show_default=False)
    ] = "",
    namespace: Annotated[
        str,
        Parameter(help="The network namespace in which disks are read and written.", show_default=False),
    ] = "",
    disks: Annotated[
        tuple[Path, ...],
        Parameter(
            help="A directory with disks, or their sockets; then no other file is opened. May be repeated.",
            show_default=False,
            negative=(),
        ),
    ] = (),
    session: Here,
) -> None:
    """Run a gateway in the foreground, until it is told to stop.

    It dials its site, keeps the connection, and reads and writes disks as the site says. With --join it joins
    first; one that joined already just runs. Its key never leaves this machine.

    For example:

      crossport gateway run --join alpha-export.join --authority 9d…

      crossport gateway run
    """
    session.machine.run_gateway(
        GatewayOptions(
            home=session.place.home,
            join=_text(join, session) if join else "",
            authority=authority,
            gateway=gateway,
            namespace=namespace,
            disks=disks,
        )
    )


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List the gateways that joined.

    For example:

      crossport gateway list
    """
    gateways = session.all(calls.gateways)
    rows = tuple((one.id, one.cloud, one.subnet, _state(one), str(one.jobs), one.release) for one in gateways)
    head = ("GATEWAY", "CLOUD", "SUBNET", "STATE", "JOBS", "RELEASE")
    session.out.result(gateways, Table(head, rows, "", frozenset({"JOBS"})))


@app.command
def show(gateway: str, /, *, session: Here) -> None:
    """Show one gateway.

    For example:

      crossport gateway show gw-5f0c9a3b7d21

    Parameters
    ----------
    gateway
        Its id, as `crossport gateway list` shows it.
    """
    _tell(session.send(calls.gateway(gateway)), session)


@app.command
def drain(
    gateway: str,
    /,
    *,
    wait: Annotated[bool, Parameter(negative=(), help="Return when nothing runs there any more.")] = False,
    session: Here,
) -> None:
    """Let a gateway begin no new copy; those that run go on.

    With --wait, one that is away ends the command: nobody knows what still runs there.

    For example:

      crossport gateway drain gw-5f0c9a3b7d21 --wait

    Parameters
    ----------
    gateway
        Its id, as `crossport gateway list` shows it.
    """
    found = session.send(calls.drain_gateway(gateway))
    _tell(_idle(found, session) if wait else found, session)


@app.command
def remove(gateway: str, /, *, session: Here) -> None:
    """Trust a gateway no longer, and end its connection. Copies that still run there end.

    For example:

      crossport gateway remove gw-5f0c9a3b7d21

    Parameters
    ----------
    gateway
        Its id, as `crossport gateway list` shows it.
    """
    session.send(calls.remove_gateway(gateway))
    session.out.result({"removed": gateway}, fields("", ("removed", gateway)))


def _idle(found: Gateway, session: Session) -> Gateway:
    """Return the gateway when it says that nothing runs there."""
    away_s = 0.0
    while found.jobs or not found.connected:
        away_s = 0.0 if found.connected else away_s + POLL_S
        if away_s > AWAY_S:
            raise errors.Unavailable(
                "gateway.away",
                f"{found.id} drains, but is not connected: it cannot say whether something still runs there.",
                field="gateway",
                remedy="Ask again when it is back, or end what may run there: crossport gateway remove "
                + found.id,
            )
        session.machine.sleep(POLL_S)
        found = session.send(calls.gateway(found.id))
    return found


def _tell(gateway: Gateway, session: Session) -> None:
    session.out.result(
        gateway,
        fields(
            "",
            ("gateway", gateway.id),
            ("seat", f"{gateway.cloud} {gateway.subnet}"),
            ("state", _state(gateway)),
            ("jobs", str(gateway.jobs)),
            ("release", gateway.release),
            ("joined", _day(gateway.joined)),
            ("certificate until", _day(gateway.expires)),
        ),
    )


def _state(gateway: Gateway) -> str:
    state = "connected" if gateway.connected else "away"
    return f"{state}, draining" if gateway.draining else state


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _text(join: str, session: Session) -> str:
    try:
        return session.machine.stdin.readline() if join == "-" else Path(join).read_text()
    except OSError as error:
        raise errors.Invalid(
            "cli.file.unreadable",
            f"{join} cannot be read: {error.strerror}.",
            field="--join",
            remedy="Correct the path.",
        ) from error
