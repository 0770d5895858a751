"""What several tests of conversion need."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def open_to_all() -> Callable[[Path], None]:
    """Let any uid pass through a test's directory, which pytest closes to others."""

    def opened(path: Path) -> None:
        for each in (path, *path.parents):
            if not each.stat().st_mode & stat.S_IXOTH:
                each.chmod(0o711)

    return opened
