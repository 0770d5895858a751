"""Build the small guest from the command line: ``python -m crossport.testing.guest --out PATH``."""

import argparse
import sys
from pathlib import Path

from crossport.appliance.kernel import KernelKind
from crossport.errors import Error
from crossport.testing.guest.image import Recipe, build_guest
from crossport.units import MIB


def main(arguments: list[str]) -> int:
    """Build what ``arguments`` ask for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crossport.testing.guest", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the raw disk image goes")
    parser.add_argument("--size-mib", type=int, default=56, help="least size of the disk (default 56)")
    parser.add_argument(
        "--fill-mb", type=float, default=0, help="real files on it, in units of 1 000 000 bytes"
    )
    parser.add_argument("--kernel", type=KernelKind, choices=list(KernelKind), default=KernelKind.CLOUD)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache/crossport/guest",
        help="where packages and images are kept (default ~/.cache/crossport/guest)",
    )
    chosen = parser.parse_args(arguments)
    try:
        recipe = Recipe(chosen.size_mib * MIB, round(chosen.fill_mb * 1_000_000), chosen.kernel)
        build_guest(chosen.out, recipe, cache=chosen.cache, say=_say)
    except Error as error:
        _say(str(error))
        return error.exit_code
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
