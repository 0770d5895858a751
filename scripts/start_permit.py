"""Print the page of the start permit: both state tables as pictures, from the tables themselves."""

from collections.abc import Mapping
from enum import StrEnum

from crossport.migration.permit import SOURCE, TARGET, SourceState, TargetState
from crossport.model.permit import StatementKind

PAGE = """<!-- Printed by scripts/start_permit.py; run make docs to print it anew. -->
# The start permit: who may run

One VM, two ends. Each arrow reads *what is asked or heard / what is stated*. What has no arrow is refused.
A VM may run in the states with a thick border. Why: [design note 0008](../design/0008-start-permit.md).

## The source's end

{source}
## The target's end

{target}"""


def picture(table: Mapping[tuple[StrEnum, StrEnum], tuple[StrEnum, StatementKind | None]], first: str) -> str:
    """Return the table as a mermaid state diagram that begins in ``first``."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for (state, event), (after, stated) in table.items():
        lines.append(f"    {state} --> {after}: {event}{f' / {stated}' if stated else ''}")
    states = dict.fromkeys(state for row in table.items() for state in (row[0][0], row[1][0]))
    running = [str(state) for state in states if getattr(state, "may_run", False)]
    lines += ["    classDef running stroke-width:4px", f"    class {','.join(running)} running", "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    source, target = picture(SOURCE, SourceState.FREE), picture(TARGET, TargetState.EMPTY)  # type: ignore[arg-type]
    print(PAGE.format(source=source, target=target), end="")
