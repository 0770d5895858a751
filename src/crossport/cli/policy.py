"""`crossport policy`: who may do what, and which policy says so; read from files, without a site."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.authorize import PolicyAuthorizer, PolicyBook, opened
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.model import codec
from crossport.model.access import Right, Role, rights_of
from crossport.model.authorization import Decision, Principal, Question, Resource

__all__ = ["app"]

OWN = "own"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks, and about what."""

    role: Annotated[Role, Parameter(help="The role of the token.")] = Role.VIEWER
    right: Annotated[
        tuple[Right, ...],
        Parameter(negative=(), show_default=False, help="A right that it has beside its role's; repeatable."),
    ] = ()
    tenant: Annotated[str, Parameter(help="The tenant of the token.")] = OWN
    of_tenant: Annotated[
        str, Parameter(help="Whose the thing is; else the same tenant's.", show_default=False)
    ] = ""
    cloud: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="A cloud that it is about; repeatable."),
    ] = ()
    policies: Annotated[
        Path | None,
        Parameter(help="The folder of the setting `policies`, with your own.", show_default=False),
    ] = None


app = App(name="policy", help="Explain who may do what, and check your own policies.")


@app.command
def check(policies: Path, /, *, session: Here) -> None:
    """Check your own policies as the site does when it starts, and list all that would hold.

    For example:

      crossport policy check /etc/crossport/policies

    Parameters
    ----------
    policies
        The folder with your files `*.cedar`.
    """
    found = opened(policies).policies.values()
    rows = tuple(
        (each.id, "forbids" if each.forbids else "permits", each.place, each.reason) for each in found
    )
    told = [
        {"id": each.id, "forbids": each.forbids, "place": each.place, "reason": each.reason} for each in found
    ]
    session.out.result(told, Table(("POLICY", "", "PLACE", "REASON"), rows))


@app.command
def explain(
    operation: str, /, *, asked: Annotated[_Asked, Parameter(name="*")] = _Asked(), session: Here
) -> None:
    """Say whether a token may do something, which policy decides, and why.

    The operations are listed in docs/reference/permissions.md. The answer is by the policies of this program
    and those in the folder that you name. What a site decided is in its log and its audit log.

    For example:

      crossport policy explain run.cancel

      crossport policy explain source.retire --role operator --right retire

      crossport policy explain vm.delete --role admin --cloud prod --policies /etc/crossport/policies

    Parameters
    ----------
    operation
        What is done, as `run.cancel`.
    """
    book, kind = opened(asked.policies), operation.partition(".")[0]
    of = asked.of_tenant or asked.tenant
    question = Question(
        principal=Principal(tenant=asked.tenant, role=asked.role, rights=rights_of(asked.role, asked.right)),
        operation=operation,
        resource=Resource(kind=kind, tenant=of, clouds=asked.cloud),
    )
    decision = _decided(book, question)
    told = decision.policies or decision.lacking
    session.out.result(
        {**codec.plain(decision), "places": [book.policies[each].place for each in told]},
        fields(
            "",
            ("decision", "allowed" if decision.allowed else "denied"),
            ("decided by" if decision.policies else "lacking", ", ".join(told)),
            ("reason", decision.reason),
            ("written in", ", ".join(book.policies[each].place for each in told)),
        ),
    )


def _decided(book: PolicyBook, question: Question) -> Decision:
    authorizer = PolicyAuthorizer(book)
    try:
        authorizer.require([question.operation])
    except errors.Broken as error:
        raise errors.Invalid(
            "authorization.operation.unknown",
            f"There is no operation {question.operation}.",
            field="operation",
            remedy="They are listed in docs/reference/permissions.md, and by the API as operationId.",
        ) from error
    return authorizer.decide(question)
