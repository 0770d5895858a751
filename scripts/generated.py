"""Write the files that are generated from code, or say which of them are stale.

Each is checked in, so that people read it without running anything. To add one, add a line to GENERATED:
the file, and the arguments for Python that print its content.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

GENERATED: dict[str, tuple[str, ...]] = {
    "docs/benchmarks.md": ("bench/page.py",),
    "docs/reference/start-permit.md": ("scripts/start_permit.py",),
    "docs/reference/cli.md": ("-m", "crossport.app.reference", "cli"),
    "docs/reference/codes.md": ("scripts/codes.py",),
    "docs/reference/image-attacks.md": ("-m", "tests.unit.certify.attacks"),
    "docs/reference/openapi.json": ("-m", "crossport.app.reference", "openapi"),
    "docs/reference/permissions.md": ("scripts/permissions.py",),
    "docs/reference/plan.schema.json": ("-m", "crossport.app.reference", "plan"),
    "docs/reference/settings.md": ("-m", "crossport.app.reference", "settings"),
    "docs/reference/transfer-states.md": ("scripts/transfer_states.py",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or with ``--write`` write. Return 1 when a file is stale and was not written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files anew")
    write = parser.parse_args(arguments).write
    stale = [name for name in GENERATED if not fresh(name, write=write)]
    for name in stale:
        print(f"{name}: {'written' if write else 'stale; run make docs'}")
    return 1 if stale and not write else 0


def fresh(name: str, *, write: bool) -> bool:
    """Say whether the file is as its generator prints it; with ``write`` make it so."""
    file = ROOT / name
    content = subprocess.run(
        [sys.executable, *GENERATED[name]], cwd=ROOT, capture_output=True, check=True
    ).stdout
    if file.exists() and file.read_bytes() == content:
        return True
    if write:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return False


if __name__ == "__main__":
    sys.exit(main())
