"""A real clamd of a test: its own socket, and one signature, that of the EICAR test file."""

import contextlib
import hashlib
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

__all__ = ["EICAR", "SIGNATURE", "running_clamd"]

# In two parts, so that no scanner takes this file for what it makes.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "Crossport.Eicar"
_START_S = 60.0


@contextlib.contextmanager
def running_clamd(folder: Path, *lines: str) -> Generator[Path]:
    """Run a clamd in ``folder`` with these lines of settings; yield its socket once it answers."""
    database, place = folder / "signatures", folder / "clamd.socket"
    database.mkdir(parents=True)
    digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
    (database / "test.hdb").write_text(f"{digest}:{len(EICAR)}:{SIGNATURE}\n")
    settings = folder / "clamd.conf"
    settings.write_text(
        "\n".join(("Foreground yes", f"LocalSocket {place}", f"DatabaseDirectory {database}", *lines, ""))
    )
    with (folder / "clamd.log").open("wb") as log:
        process = subprocess.Popen(["clamd", "-c", settings], stdout=log, stderr=log)
        try:
            _wait(place, process, folder / "clamd.log")
            yield place
        finally:
            process.terminate()
            process.wait()


def _wait(place: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(place))
            return
        time.sleep(0.05)
    raise AssertionError(f"clamd did not start: {log.read_text()}")
