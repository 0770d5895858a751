"""A person waits for each worker to start: it loads what it needs, and nothing that only a site needs."""

import subprocess
import sys

import pytest

from crossport.transfer import worker

_NOT_FOR_WORKERS = {"pydantic", "annotated_types", "cryptography", "asyncio", "fastapi", "sqlalchemy"}


@pytest.mark.parametrize("way", ["send", "receive"])
def test_a_worker_that_copies_loads_no_library_of_the_site(way: str) -> None:
    needed = ", ".join(f"crossport.transfer.{name}" for name in ("worker", *worker.NEEDED[way]))
    told = subprocess.run(
        [sys.executable, "-IB", "-c", f"import sys, {needed}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {name.partition(".")[0] for name in told.stdout.split()}

    assert not loaded & _NOT_FOR_WORKERS
