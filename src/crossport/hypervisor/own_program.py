"""What a confined process of our own has to see in order to run: its Python, the libraries, this package."""

import sys
from pathlib import Path

import crossport

__all__ = ["own_program"]


def own_program() -> tuple[Path, ...]:
    """Return where they lie, as far as that is not below ``/usr``."""
    package = Path(crossport.__file__).resolve().parent
    paths = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix), package}
    tops = {path for path in paths if not path.is_relative_to("/usr")}
    return tuple(
        sorted(path for path in tops if not any(path != top and path.is_relative_to(top) for top in tops))
    )
