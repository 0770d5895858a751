"""Write what the commands of the pages print into them: ``python -m tests.interop.docs.refresh [PAGE…]``.

Blocks with a gap (a line ``…``), and commands whose output is not shown, stay as they are. Read the
difference before it is committed: what is written is what the program does, not what it should do.
"""

import sys
import tempfile
from pathlib import Path

from tests.interop.docs.page import GAP, Command, File, difference, ids, parts
from tests.interop.docs.test_pages import RUN
from tests.interop.docs.world import ROOT, PageWorld


def refreshed(text: str, folder: Path) -> str:
    """Return the page with the output of this moment."""
    world = PageWorld(folder, text)
    lines = text.splitlines()
    changes: list[tuple[Command, list[str]]] = []
    try:
        for part in parts(text):
            if isinstance(part, File):
                world.put(part)
                continue
            status, printed = world.run(part.text)
            if status != part.status:
                sys.stderr.write(f"line {part.line}: {part.text}: exit status {status}\n{printed}\n")
            world.names.update(zip(ids(part.output), ids(printed), strict=False))
            if part.output and GAP not in part.output and difference(part.output, printed):
                changes.append((part, _with_names(world, printed)))
    finally:
        world.end()
    for command, printed in reversed(changes):
        start = command.line + command.text.count("\n")
        lines[start : start + len(command.output)] = [line.rstrip() for line in printed]
    return "\n".join(lines) + "\n"


def _with_names(world: PageWorld, printed: list[str]) -> list[str]:
    """Return the lines with the ids that the page shows, so that they stay from refresh to refresh."""
    text = "\n".join(printed)
    for shown, real in world.names.items():
        text = text.replace(real, shown)
    return text.splitlines()


def main(pages: list[str]) -> None:
    """Refresh these pages, or all."""
    for page in pages or RUN:
        with tempfile.TemporaryDirectory() as folder:
            made = refreshed((ROOT / page).read_text(), Path(folder))
        (ROOT / page).write_text(made)


if __name__ == "__main__":
    main(sys.argv[1:])
