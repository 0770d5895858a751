"""Print who may call what, by the shipped policies: a row for each operation of the API's description."""

import json
from pathlib import Path
from typing import Any

from crossport.authorize import PolicyAuthorizer, opened
from crossport.model.access import Right, Role, rights_of
from crossport.model.authorization import Principal, Question, Resource

DESCRIPTION = Path(__file__).resolve().parent.parent / "docs/reference/openapi.json"
HEAD = """# Permissions

Made from the policies by `make docs`. A cell names the policy that permits the operation to a token of this
role, or with this right; an empty one is a denial. Policies that forbid win over these, and over those that
the operator added: `tenant.isolation`, and the ceilings of a caller.

"""
COLUMNS: dict[str, frozenset[Right]] = {
    **{f"role {role}": rights_of(role) for role in Role},
    "right retire": frozenset({Right.RETIRE}),
    "right site": frozenset({Right.SITE}),
}


def main() -> None:
    """Print the page."""
    authorizer = PolicyAuthorizer(opened())
    paths: dict[str, dict[str, dict[str, Any]]] = json.loads(DESCRIPTION.read_text())["paths"]
    rows = sorted(
        _row(authorizer, f"{method.upper()} {path}", operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    )
    print(HEAD + "| operation | request | " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    print("\n".join(rows))
    print("\n## Policies\n")
    for policy in opened().policies.values():
        print(f"- `{policy.id}` {'forbids' if policy.forbids else 'permits'}: {policy.reason}")


def _row(authorizer: PolicyAuthorizer, request: str, operation: dict[str, Any]) -> str:
    name: str = operation["operationId"]
    if not operation["security"]:
        cells = ["needs no token"] * len(COLUMNS)
    else:
        cells = [_cell(authorizer, name, rights) for rights in COLUMNS.values()]
    return f"| `{name}` | `{request}` | {' | '.join(cells)} |"


def _cell(authorizer: PolicyAuthorizer, operation: str, rights: frozenset[Right]) -> str:
    question = Question(
        principal=Principal(tenant="own", rights=rights),
        operation=operation,
        resource=Resource(kind=operation.partition(".")[0], tenant="own"),
    )
    decision = authorizer.decide(question)
    return f"`{', '.join(decision.policies)}`" if decision.allowed else ""


if __name__ == "__main__":
    main()
