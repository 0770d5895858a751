"""`crossport trust`: make partners of sites with other owners, say who of them may act here, and end that."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.private import claimed
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.client import partner_calls as calls
from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    LinkFigures,
    PartnerState,
    ShownPartner,
    TenantRule,
)

__all__ = ["app"]

app = App(name="trust", help="Make partners of other sites, say what they may, and end that.")
Fingerprint = Annotated[
    str,
    Parameter(help="The fingerprint that the partner's operator sees as its own, whole.", show_default=False),
]
_FINGERPRINT = re.compile(r"(sha256:)?[0-9a-f]{64}")


@app.command
def invite(
    partner: str,
    /,
    *,
    file: Annotated[Path, Parameter(help="Where to write the invitation; only you can read it.")],
    session: Here,
) -> None:
    """Let one other site exchange keys with this one, within ten minutes.

    Hand its operator the file by a way that nobody else reads, and tell him your fingerprint by another, by
    telephone for instance. The file is good once.

    For example:

      crossport trust invite south --file south.invitation

    Parameters
    ----------
    partner
        The name of the other site: its setting site_name.
    """
    with claimed(file):
        made = session.send(calls.invite_partner(InviteRequest(partner=partner)))
    file.write_text(made.invitation + "\n")
    minutes = round((made.expires - session.machine.wall()) / 60)
    told = {
        "partner": partner,
        "file": str(file),
        "expires": made.expires,
        "own_fingerprint": made.fingerprint,
    }
    session.out.result(
        told,
        fields(
            "",
            ("partner", partner),
            ("invitation", str(file)),
            ("good", f"once, for {minutes} min"),
            ("own fingerprint", made.fingerprint),
            ("run there", f"crossport trust accept {file.name}"),
            ("then here", f"crossport trust confirm {partner}"),
        ),
    )


@app.command
def accept(file: Path, /, *, fingerprint: Fingerprint = "", session: Here) -> None:
    """Exchange keys with the site that wrote an invitation, and trust it once you compared its fingerprint.

    Both fingerprints are shown. The other site's operator has to see the same two; then confirm. The link is
    probed first; what is wrong with it is said.

    For example:

      crossport trust accept south.invitation

    Parameters
    ----------
    file
        The invitation, - for standard input.
    """
    expected = _whole(fingerprint) if fingerprint else ""
    met = session.send(calls.accept_partner(AcceptRequest(invitation=_text(file, session))))
    _confirm(met, expected, session)


@app.command
def confirm(partner: str, /, *, fingerprint: Fingerprint = "", session: Here) -> None:
    """Trust a site that accepted your invitation, once you compared its fingerprint.

    For example:

      crossport trust confirm south

    Parameters
    ----------
    partner
        Its name, as `crossport trust list` shows it.
    """
    expected = _whole(fingerprint) if fingerprint else ""
    _confirm(session.send(calls.partner(partner)), expected, session)


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List the sites that exchanged keys with this one.

    For example:

      crossport trust list
    """
    found = session.all(calls.partners)
    rows = tuple(
        (one.partner.name, one.partner.state.value, one.partner.address, _time(one.partner.refreshed))
        for one in found
    )
    session.out.result(found, Table(("PARTNER", "STATE", "ADDRESS", "HEARD"), rows, ""))


@app.command
def show(partner: str, /, *, session: Here) -> None:
    """Show one: its fingerprint and yours, the link, and which of its tenants may act here.

    For example:

      crossport trust show south

    Parameters
    ----------
    partner
        Its name.
    """
    _tell(session.send(calls.partner(partner)), session)


@app.command
def allow(
    partner: str,
    /,
    *,
    tenant: Annotated[str, Parameter(help="The tenant's name at the partner.")],
    as_: Annotated[str, Parameter(name="--as", help="The tenant here as which it acts.")],
    cloud: Annotated[
        tuple[str, ...], Parameter(help="A cloud that it may use. May be repeated.", negative=())
    ],
    session: Here,
) -> None:
    """Let a tenant of a partner act here as a tenant of yours, on some clouds.

    Without such a rule a partner can do nothing here.

    For example:

      crossport trust allow south --tenant acme --as acme-south --cloud beta

    Parameters
    ----------
    partner
        Its name.
    """
    rule = TenantRule(theirs=tenant, ours=as_, clouds=cloud)
    _tell(session.send(calls.allow_tenant(partner, rule)), session)


@app.command
def disallow(
    partner: str,
    /,
    *,
    tenant: Annotated[str, Parameter(help="The tenant's name at the partner.")],
    session: Here,
) -> None:
    """Let a tenant of a partner act here no longer.

    For example:

      crossport trust disallow south --tenant acme

    Parameters
    ----------
    partner
        Its name.
    """
    _tell(session.send(calls.disallow_tenant(partner, tenant)), session)


@app.command
def rotate(
    *,
    revoke: Annotated[
        bool, Parameter(help="Use it at once, and let the old one count no more.", negative=())
    ] = False,
    session: Here,
) -> None:
    """Make a new authority that vouches for this site to partners, and tell it to all of them.

    It is used as soon as all know it, in a day at the latest. The old one stays good for a day more, so
    that what runs goes on.

    With --revoke it is used at once, for the case that somebody else has the old one: connections that the
    old one vouched for end within seconds, and are made anew. With a partner that is not told now, keys have
    to be exchanged anew.

    For example:

      crossport trust rotate

      crossport trust rotate --revoke
    """
    found = session.send(calls.rotate_authority(AuthorityRequest(revoke=revoke))).items
    names = tuple(one.partner.name for one in found)
    session.out.result({"know": names}, fields("", ("know it", ", ".join(names) or "nobody yet")))


@app.command
def revoke(partner: str, /, *, session: Here) -> None:
    """Trust a partner no longer. Its connections end within seconds.

    For example:

      crossport trust revoke south

    Parameters
    ----------
    partner
        Its name.
    """
    _tell(session.send(calls.revoke_partner(partner)), session)


@app.command
def compromise(
    partner: str,
    /,
    *,
    since: Annotated[
        str, Parameter(help="From when on, for instance 2026-12-31T22:30Z. Else: always.", show_default=False)
    ] = "",
    session: Here,
) -> None:
    """Trust a partner no longer because its keys were in other hands, and list what they had a part in.

    For example:

      crossport trust compromise south --since 2026-11-02T04:00Z

    Parameters
    ----------
    partner
        Its name.
    """
    found = session.send(calls.compromise_partner(partner, CompromiseRequest(since=since)))
    rows = tuple((_time(one.at), one.kind, one.id, one.about) for one in found.touched)
    session.out.result(found, Table(("TIME", "KIND", "ID", "ABOUT"), rows, ""))


@app.command
def forget(partner: str, /, *, session: Here) -> None:
    """Keep nothing of a site that is not trusted, so that it can be invited anew.

    For example:

      crossport trust forget south

    Parameters
    ----------
    partner
        Its name.
    """
    session.send(calls.forget_partner(partner))
    session.out.result({"forgotten": partner}, fields("", ("forgotten", partner)))


def _confirm(met: ShownPartner, expected: str, session: Session) -> None:
    name = met.partner.name
    if met.partner.state is PartnerState.INVITED and not expected:
        session.out.say(f"fingerprint of {name}: {met.fingerprint}")
        session.out.say(f"your fingerprint:{' ' * (len(name) - 1)} {met.own_fingerprint}")
        question = f"Does the operator of {name} see the same two? Trust it? [y/N] "
        if session.ask(question) not in ("y", "yes"):
            raise errors.Refused(
                "partner.unconfirmed",
                f"{name} exchanged keys with this site and is not trusted: nobody confirmed its fingerprint.",
                field="--fingerprint",
                remedy=f"Compare {met.fingerprint} with what its operator sees as its own, then: "
                f"crossport trust confirm {name} --fingerprint HEX",
            )
        expected = met.fingerprint
    request = ConfirmRequest(fingerprint=expected or met.fingerprint)
    _tell(session.send(calls.confirm_partner(name, request)), session)


def _whole(fingerprint: str) -> str:
    """Return a fingerprint as it is compared. A part of one is refused: it can be forged."""
    text = fingerprint.lower()
    if not _FINGERPRINT.fullmatch(text):
        raise errors.Invalid(
            "cli.fingerprint.part",
            "This is no whole fingerprint.",
            field="--fingerprint",
            remedy="Write all of its 64 hexadecimal digits.",
        )
    return text.removeprefix("sha256:")


def _tell(shown: ShownPartner, session: Session) -> None:
    partner = shown.partner
    rules = [f"{one.theirs} as {one.ours} on {', '.join(one.clouds)}" for one in partner.tenants]
    session.out.result(
        shown,
        fields(
            "",
            ("partner", partner.name),
            ("state", partner.state.value),
            ("address", partner.address),
            ("fingerprint", shown.fingerprint),
            ("own fingerprint", shown.own_fingerprint),
            *_link(partner.link),
            ("heard", _time(partner.refreshed)),
            ("tenants", "; ".join(rules) or "none may act here"),
        ),
    )


def _link(link: LinkFigures | None) -> tuple[tuple[str, str], ...]:
    if link is None:
        return (("link", "not probed"),)
    slower = min(link.rate_in, link.rate_out) / (1 << 20)
    told = f"{link.round_trip_s * 1000:.1f} ms there and back, {slower:.1f} MiB/s, "
    told += f"{link.loss:.2%} sent again, packets of {link.mtu} bytes"
    return (("link", told),)


def _text(file: Path, session: Session) -> str:
    try:
        return session.machine.stdin.readline() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Invalid(
            "cli.file.unreadable",
            f"{file} cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}.",
            field="file",
            remedy="Correct the path.",
        ) from error


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
