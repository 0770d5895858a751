"""`crossport identity`: which identity providers the site believes, and whom that makes its tenants."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.login_means import secret_in
from crossport.cli.parameter import Many
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.model.access import Role
from crossport.model.federation import Ceilings, NewProvider, Provider, SigningAlgorithm, TrustRule

__all__ = ["app"]

app = App(name="identity", help="Believe identity providers, and say whom that lets in.")
provider_app = App(
    name="provider",
    help="""The OpenID providers whose tokens are accepted where a rule says so.

    For example:

      crossport identity provider list
    """,
)
rule_app = App(
    name="rule",
    help="""Whom the bearer of a provider's token is here, and what it may do.

    For example:

      crossport identity rule list
    """,
)
app.command(provider_app)
app.command(rule_app)


@provider_app.command(name="list")
def providers(*, session: Here) -> None:
    """List identity providers.

    For example:

      crossport identity provider list
    """
    found = session.all(calls.providers)
    rows = tuple((each.name, each.issuer, each.audience, " ".join(each.algorithms)) for each in found)
    session.out.result(tuple(found), Table(("NAME", "ISSUER", "AUDIENCE", "ALGORITHMS"), rows))


@dataclass(frozen=True)
class _Tokens:
    """Which tokens of a provider are taken."""

    audience: Annotated[str, Parameter(help="What they must be meant for: this site, by its name there.")]
    algorithm: Annotated[
        tuple[SigningAlgorithm, ...],
        Parameter(negative=(), show_default=False, help="How they may be signed, else by all; repeatable."),
    ] = ()
    type: Annotated[Many, Parameter(help="What they call themselves, else at+jwt; repeatable.")] = ()
    party: Annotated[Many, Parameter(help="Only those that this client got; repeatable.")] = ()
    client: Annotated[
        str, Parameter(help="Whom `crossport login` is at the provider: its id there.", show_default=False)
    ] = ""
    scope: Annotated[
        str, Parameter(help="What it asks for, else openid offline_access.", show_default=False)
    ] = ""
    introspect_as: Annotated[
        str,
        Parameter(
            show_default=False,
            help="As which client there the site asks whether a sign-in still counts while runs go on.",
        ),
    ] = ""
    secret_file: Annotated[
        str, Parameter(help="Where that client's secret lies; the site seals it.", show_default=False)
    ] = ""


@provider_app.command(name="add")
def add_provider(
    name: str, issuer: str, /, *, tokens: Annotated[_Tokens, Parameter(name="*")], session: Here
) -> None:
    """Believe an identity provider, once it answered with its keys. That admits nobody yet: add a rule.

    For example:

      crossport identity provider add acme https://login.acme.example --audience https://crossport.example

    Parameters
    ----------
    name
        What you call it.
    issuer
        Its address, exactly as it writes it itself.
    """
    usual = NewProvider(name=name, issuer=issuer, audience=tokens.audience, parties=tokens.party)
    usual = replace(usual, client=tokens.client, scope=tokens.scope, introspector=tokens.introspect_as)
    if tokens.secret_file:
        usual = replace(usual, secret=secret_in(Path(tokens.secret_file)).reveal())
    asked = replace(usual, algorithms=tokens.algorithm or usual.algorithms, types=tokens.type or usual.types)
    added = session.send(calls.add_provider(asked))
    shown = fields(
        "", ("provider", added.name), ("issuer", added.issuer), ("who is disabled", _noticed(added))
    )
    session.out.result(added, shown)


@provider_app.command(name="remove")
def remove_provider(name: str, /, *, session: Here) -> None:
    """Believe an identity provider no longer.

    For example:

      crossport identity provider remove acme

    Parameters
    ----------
    name
        The provider, as `crossport identity provider list` shows it.
    """
    session.send(calls.remove_provider(name))
    session.out.result({"removed": name}, fields("", ("removed", name)))


@rule_app.command(name="list")
def rules(*, session: Here) -> None:
    """List trust rules, in the order in which they are asked: the first that fits decides.

    For example:

      crossport identity rule list
    """
    found = session.all(calls.rules)
    rows = tuple(
        (each.name, each.provider, _claims(each), each.tenant, each.role.value, _ceilings(each.ceilings))
        for each in found
    )
    heads = ("NAME", "PROVIDER", "CLAIMS", "TENANT", "ROLE", "CEILINGS")
    session.out.result(tuple(found), Table(heads, rows))


@dataclass(frozen=True)
class _Terms:
    """Whom a rule fits, and who that is here."""

    claim: Annotated[Many, Parameter(help="What a token must say, NAME=TEXT; all of them; repeatable.")]
    tenant: Annotated[str, Parameter(help="In whose name its bearer acts here.")]
    role: Annotated[Role, Parameter(help="What it may do: read, operate too, administer too.")]
    cloud: Annotated[Many, Parameter(help="Only with this cloud, else all of the tenant; repeatable.")] = ()
    vm: Annotated[Many, Parameter(help="Only with this VM, else all; repeatable.")] = ()
    project: Annotated[
        Many, Parameter(help="Only within this project of a cloud, CLOUD/PROJECT, else all; repeatable.")
    ] = ()
    hours: Annotated[
        int,
        Parameter(
            show_default=False, help="How long runs that it begins may go on, else as the site has set."
        ),
    ] = 0


@rule_app.command(name="add")
def add_rule(
    name: str, provider: str, /, *, terms: Annotated[_Terms, Parameter(name="*")], session: Here
) -> None:
    """Make whoever has a provider's token with these claims a tenant here.

    For example:

      crossport identity rule add ops acme --claim groups=cloud-operators --tenant acme --role operator

      crossport identity rule add alice acme --claim sub=alice --tenant acme --role operator --cloud beta

    Parameters
    ----------
    name
        What you call it. Rules are asked in the order of their names.
    provider
        The provider, as `crossport identity provider list` shows it.
    """
    rule = TrustRule(
        name=name,
        provider=provider,
        claims=_wanted(terms.claim),
        tenant=terms.tenant,
        role=terms.role,
        ceilings=Ceilings(clouds=terms.cloud, vms=terms.vm, projects=terms.project),
        hours=terms.hours,
    )
    added = session.send(calls.add_rule(rule))
    vouching = next((each for each in session.all(calls.providers) if each.name == added.provider), None)
    shown = fields(
        "",
        ("rule", added.name),
        ("claims", _claims(added)),
        ("tenant", f"{added.tenant}, {added.role.value}"),
        ("who is disabled", _noticed(vouching) if vouching else ""),
    )
    session.out.result(added, shown)


@rule_app.command(name="remove")
def remove_rule(name: str, /, *, session: Here) -> None:
    """Let a trust rule hold no longer: whom it let in is out from now on.

    For example:

      crossport identity rule remove ops

    Parameters
    ----------
    name
        The rule, as `crossport identity rule list` shows it.
    """
    session.send(calls.remove_rule(name))
    session.out.result({"removed": name}, fields("", ("removed", name)))


def _noticed(provider: Provider) -> str:
    """Say when somebody is out whom the provider disables."""
    if provider.introspector:
        return "loses runs within a minute while the token lives, then with the grant"
    return "loses runs when their grants end: the provider is not asked"


def _wanted(texts: Iterable[str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise errors.Invalid(
                "cli.claim.malformed",
                f"{text!r} is not NAME=TEXT.",
                field="--claim",
                remedy="Write for instance groups=cloud-operators.",
            )
        table[name] = value
    return table


def _claims(rule: TrustRule) -> str:
    return " ".join(f"{name}={text}" for name, text in sorted(rule.claims.items()))


def _ceilings(ceilings: Ceilings) -> str:
    return " ".join((*ceilings.clouds, *ceilings.vms, *ceilings.projects)) or "none"
