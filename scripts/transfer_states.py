"""Print the page of what each end of a copy may hear: both state tables as pictures, from the tables."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from crossport.transfer.frame import Kind
from crossport.transfer.states import RECEIVER, SENDER, ReceiverState, SenderState

PAGE = """<!-- Printed by scripts/transfer_states.py; run make docs to print it anew. -->
# What each end of a copy may hear

One connection, two ends. Each arrow is labelled with the frames that are heard there; ALIVE and FAILED may
come at any time, and everything else breaks the protocol. What they are: [how bytes cross](../transfer.md).

## The receiver's end

{receiver}
## The sender's end

{sender}"""

State = TypeVar("State", bound=Enum)


def picture(table: Mapping[tuple[State, Kind], State], first: State, *more: str) -> str:
    """Return the table as a mermaid state diagram that begins in ``first``; ``more`` are arrows."""
    arrows = dict[tuple[str, str], list[str]]()
    for (state, kind), after in sorted(table.items(), key=lambda row: row[0][1]):
        arrows.setdefault((state.value, after.value), []).append(kind.name)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [f"    {state} --> {after}: {', '.join(kinds)}" for (state, after), kinds in arrows.items()]
    return "\n".join([*lines, *(f"    {arrow}" for arrow in more), "```", ""])


if __name__ == "__main__":
    sender = picture(SENDER, SenderState.GREETED, "open --> ending: it says END")
    print(PAGE.format(receiver=picture(RECEIVER, ReceiverState.NEW), sender=sender), end="")
