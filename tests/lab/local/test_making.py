"""A person makes an embedded cloud by commands alone, brings an image in, makes a VM, removes it all."""

import asyncio
import ipaddress
import json
import ssl
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509
from tests.lab.serve.terminal import Terminal
from tests.lab.serve.test_life import Machine
from tests.unit.transfer.test_http_disk import certificate
from tests.unit.transfer.web import Web, web

from crossport import errors
from crossport.client import Client, calls, over_socket
from crossport.client.embedded import read_token
from crossport.clouds.local import destroy
from crossport.testing import images
from crossport.units import MIB

pytestmark = pytest.mark.qemu


class Fetching(Machine):
    """A machine whose operator lets the site fetch from loopback, with the certificate of the tests."""

    def environment(self, **more: str) -> dict[str, str]:
        allowed = {"CROSSPORT_EGRESS": "127.0.0.1/32", "CROSSPORT_EGRESS_CA": str(self.home / "../cert.pem")}
        return super().environment(**allowed, **more)


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    one = Fetching(tmp_path / "home")
    try:
        yield one
    finally:
        one.end()
        asyncio.run(destroy(tmp_path / "home" / "clouds" / "default" / "lab"))


def cancel_and_go_on(machine: Machine, served: Web) -> None:
    """Begin a fetch that lasts, leave it, join it by the same command, cancel it, and fetch after all."""
    fetch = ("image", "fetch", served.url, "--cloud", "lab", "--name", "slow", "--format", "raw")
    served.delay_s = 3.0
    run, again = (json.loads(machine.run(*fetch, "--detach", "--json")[1]) for _ in range(2))
    assert run["id"] == again["id"]
    status, _, told = machine.run("image", "fetch", served.url + "2", *fetch[3:])
    assert (status, "image.fetching" in told) == (2, True), told
    terminal = Terminal(machine, "run", "watch", run["id"])
    shown = terminal.until("running")
    assert ("image_download" in shown, "network_setup" in shown) == (True, False), shown
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("c\n")
    terminal.until("cancelled")
    assert terminal.end() == errors.Cancelled.exit_code
    assert machine.run("run", "watch", run["id"])[0] == errors.Cancelled.exit_code
    served.delay_s = 0.0
    assert machine.run(*fetch)[0] == 0
    assert machine.run("image", "delete", "lab", "slow")[0] == 0


def upload_from_standard_input(machine: Machine) -> None:
    upload = ("image", "upload", "-", "--cloud", "lab", "--name", "piped")
    status, _, told = machine.run(*upload, given="x" * MIB)
    assert (status, "image.stdin.unsaid" in told) == (2, True), told
    status, made, told = machine.run(*upload, "--format", "raw", given="x" * MIB)
    assert (status, "1 MiB" in made) == (0, True), told
    assert machine.run("image", "delete", "lab", "piped")[0] == 0


def test_a_cloud_is_made_filled_used_and_destroyed(machine: Machine, tmp_path: Path):
    shown = certificate(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    disk = tmp_path / "small.raw"
    disk.write_bytes(b"no boot sector".ljust(MIB, b"\0"))
    root = tmp_path / "home" / "clouds" / "default" / "lab"
    status, made, told = machine.run("cloud", "create", "lab", "--isolation", "user", "--vms", "1")
    assert (status, "answers  yes" in made) == (0, True), told
    assert "1 VMs" in machine.run("cloud", "show", "lab")[1]
    status, _, told = machine.run("cloud", "create", "lab")
    assert (status, "There is already a cloud lab" in told) == (2, True), told

    terminal = Terminal(machine, "image", "upload", str(disk), "--cloud", "lab", "--name", "tiny")
    terminal.until("upload: 1 MiB of 1 MiB (100 %)")
    assert terminal.end() == 0
    assert machine.run("image", "list", "lab")[1].split()[-4:] == ["tiny", "raw", "1", "MiB"]
    upload_from_standard_input(machine)
    with Client(
        over_socket(machine.control / "socket"), read_token(machine.control / "token"), time.sleep
    ) as client:
        call = calls.upload_image("lab", "evil", "qcow2")
        with pytest.raises(errors.Refused) as refusal:
            client.upload(call, iter([images.qcow2(backing=b"/etc/shadow")]))
        assert refusal.value.code == "image.qcow2.backing-file"

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*shown)
    with web(disk.read_bytes(), server) as served:
        fetch = ("image", "fetch", served.url, "--cloud", "lab", "--name", "fetched", "--format", "raw")
        status, told, _ = machine.run(*fetch)
        assert (status, "Image fetched" in told) == (0, True), told
        cancel_and_go_on(machine, served)
        served.etag = None
        status, _, told = machine.run(*fetch[:-4], "--name", "other", "--format", "raw")
        assert (status, "transfer.http.unversioned" in told) == (7, True), told
    status, _, told = machine.run("image", "fetch", "https://192.0.2.1/x.raw", "--cloud", "lab")
    assert (status, "setting egress" in told) == (7, True), told
    assert machine.run("image", "delete", "lab", "fetched")[0] == 0

    words = ("vm", "create", "lab", "web", "--image", "tiny", "--flavor", "tiny", "--network", "private")
    assert machine.run(*words)[0] == 0
    status, _, told = machine.run("cloud", "destroy", "lab", "--yes")
    assert (status, "lab has VMs: web." in told) == (2, True), told
    delete = ("vm", "delete", "web", "--from", "lab", "--yes")
    status, _, told = machine.run(*delete)
    assert (status, "--force-off" in told) == (2, True), told
    status, deleted, told = machine.run(*delete, "--force-off")
    assert (status, "web" in deleted) == (0, True), told
    assert root.exists()
    status, removed, told = machine.run("cloud", "destroy", "lab", "--yes")
    assert (status, "image tiny (1 MiB)" in removed) == (0, True), told
    assert not root.exists()
    assert "lab" not in machine.run("cloud", "list")[1]
