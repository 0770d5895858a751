"""Record what a cloud of the lab answers the driver, for the tests that have no cloud.

    python -m lab.openstack inside .venv/bin/python -m tests.openstack.recording FILE

The recording holds every answer once, by method, port, path and query. Tokens are replaced, and addresses of
the services by a name; requests, which hold the credential, are not recorded.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from tests.openstack.clouds import connected, entry_of, guest_qcow2, project
from tests.openstack.scene import scene
from tests.unit.migration.test_control import KeptSecrets

from crossport.clouds.openstack import connect

HOST = "http://10.90.0.11:"
NAME = "http://cloud.test:"


class Recorder:
    """Keeps what passes through requests."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self._send = requests.Session.send

    def install(self) -> None:
        """Stand between the library and the cloud."""

        def send(
            self: requests.Session, request: requests.PreparedRequest, **kwargs: Any
        ) -> requests.Response:
            return recorder.send(self, request, **kwargs)

        recorder = self
        requests.Session.send = send

    def send(self, session: requests.Session, request: Any, **options: Any) -> requests.Response:
        """Send as ever, and keep the answer."""
        answer = self._send(session, request, **options)
        assert request.url is not None
        self.answers[key(request.method, request.url)] = {
            "status": answer.status_code,
            "type": answer.headers.get("Content-Type", "application/json"),
            "body": answer.text.replace(HOST, NAME),
        }
        return answer


def key(method: str, url: str) -> str:
    """Return by what an answer is known: not by the host."""
    parts = urlsplit(url)
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    return f"{method} {parts.port}{parts.path}{'?' + query if query else ''}"


async def _drive() -> None:
    cloud = await connect(entry_of("north"), KeptSecrets())
    await cloud.check()
    await cloud.installation()
    await cloud.constructs()
    for vm in await cloud.vms():
        await cloud.console_log(vm.id)
    await cloud.close()


def main(file: Path) -> None:
    """Make the scene in the north, ask the driver everything, and write the recording."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        disk = guest_qcow2(Path(folder))
        with (
            project(connected("north"), "10.1.0.0/24", ("10.90.0.128", "10.90.0.158")) as where,
            scene(where, disk, "10.1.0.0/24"),
        ):
            recorder.install()
            asyncio.run(_drive())
            file.write_text(json.dumps(recorder.answers, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
