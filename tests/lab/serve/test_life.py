"""The server as a process of its own: started at need, once; owned, private, idle, and told to stop."""

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crossport.app.clock import SystemClock
from crossport.clouds.memory import MemoryCloud
from crossport.identity import SiteIdentity
from crossport.model.run import Act
from crossport.testing.world import ALPHA, web_vm

PROGRAM = [sys.executable, "-m", "crossport.app"]


class Machine:
    """A home of its own for servers and commands; every server that was started in it is known."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.control = home / "control"
        self.started: list[subprocess.Popen[str]] = []

    def environment(self, **more: str) -> dict[str, str]:
        chosen = {"CROSSPORT_HOME": str(self.home), "PATH": os.environ["PATH"]}
        return chosen | {"HOME": str(self.home)} | more

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *words],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, given: str | None = None, **more: str) -> tuple[int, str, str]:
        """Run a command, which reads ``given``; return its exit status and what it wrote."""
        done = subprocess.run(
            [*PROGRAM, *words],
            env=self.environment(**more),
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the embedded servers' log."""
        lines = (self.control / "serve.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def owner(self) -> int:
        return int((self.control / "owner.lock").read_text())

    def wait(self, what: Any, seconds: float = 20) -> None:
        """Return when ``what()`` is true."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.05)

    def end(self) -> None:
        """End what still runs: servers that were started here, by their own ids."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        if (self.control / "serve.log").exists():
            for line in self.said("ready"):
                if alive(line["pid"]):
                    os.kill(line["pid"], signal.SIGTERM)
                    self.wait(lambda pid=line["pid"]: not alive(pid))


def alive(pid: int) -> bool:
    """Say whether a process with that id executes."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    one = Machine(tmp_path / "home")
    yield one
    one.end()


def test_two_commands_at_once_start_one_server(machine: Machine):
    commands = [machine.start("cloud", "list", "--json") for _ in range(3)]
    answers = [command.communicate(timeout=60) for command in commands]
    assert [
        (command.returncode, out, err) for command, (out, err) in zip(commands, answers, strict=True)
    ] == [(0, "[]\n", "")] * 3
    assert len(machine.said("ready")) == 1


def test_what_the_state_directory_holds_is_for_its_owner_only(machine: Machine):
    machine.run("cloud", "list")
    assert stat.S_IMODE(machine.control.stat().st_mode) == 0o700
    for name in ("socket", "token", "owner.lock", "serve.log"):
        assert stat.S_IMODE((machine.control / name).stat().st_mode) == 0o600, name
    token = (machine.control / "token").read_text().strip()
    assert token not in (machine.control / "serve.log").read_text()


def test_an_idle_server_leaves_and_the_next_command_starts_another(machine: Machine):
    assert machine.run("cloud", "list", CROSSPORT_IDLE_S="1")[0] == 0
    first = machine.owner()
    machine.wait(lambda: not alive(first))
    assert not (machine.control / "socket").exists()
    assert machine.run("cloud", "list")[0] == 0
    assert machine.owner() != first


def test_a_server_that_nobody_has_asked_yet_waits_for_whoever_started_it(machine: Machine):
    idle = {"CROSSPORT_IDLE_S": "0.1"}
    server = machine.start("serve", "--embedded", **idle)
    machine.wait(lambda: (machine.control / "socket").exists() or server.poll() is not None)
    time.sleep(2)  # a machine that is busy
    assert machine.run("cloud", "list", **idle)[0] == 0
    assert server.wait(20) == 0
    assert machine.owner() == server.pid


def test_a_server_does_not_leave_while_a_run_waits(machine: Machine):
    idle = {"CROSSPORT_IDLE_S": "2"}
    clouds = {name: MemoryCloud(name, machine.home / name) for name in ("alpha", "beta")}
    for name, cloud in clouds.items():
        cloud.found(ALPHA)
        machine.run("cloud", "add", name, "memory", "--set", f"path={machine.home / name}", **idle)
    act = Act(run="made", step="create", epoch=1)
    asyncio.run(clouds["alpha"].create_vm(act, web_vm(), "boot and data"))
    words = "migrate web --from alpha --to beta --commit manual --detach --json"
    status, out, told = machine.run(*words.split(), **idle)
    assert status == 0, told
    run = json.loads(out)["id"]
    machine.wait(lambda: '"waiting"' in machine.run("run", "show", run, "--json", **idle)[1])
    owner = machine.owner()
    time.sleep(5)
    assert (alive(owner), machine.owner()) == (True, owner)
    machine.run("run", "commit", run, **idle)
    machine.wait(lambda: not alive(machine.owner()), 40)


def test_a_second_owner_is_told_who_owns_the_directory(machine: Machine):
    machine.run("cloud", "list")
    status, _, told = machine.run("serve")
    assert status == 2
    assert f"in use by process {machine.owner()}" in told
    assert "Code: state.owned" in told
    assert "Serving" not in told


def test_a_dead_server_leaves_nothing_in_the_way(machine: Machine):
    machine.run("cloud", "list")
    first = machine.owner()
    os.kill(first, signal.SIGKILL)
    machine.wait(lambda: not alive(first))
    assert (machine.control / "socket").exists()
    assert machine.run("cloud", "list") == (0, "Result: none\n", "")
    assert machine.owner() != first


def test_a_directory_that_others_may_enter_is_refused(machine: Machine):
    machine.control.mkdir(parents=True, mode=0o755)
    status, _, told = machine.run("cloud", "list")
    assert (status, "Code: state.directory.open" in told) == (7, True)


def test_a_server_that_cannot_start_shows_why(machine: Machine):
    status, _, told = machine.run("cloud", "list", CROSSPORT_IDLE_S="soon")
    assert status == 2
    assert "idle_s" in told
    machine.control.mkdir(parents=True, mode=0o700)
    (machine.control / "token").symlink_to("/dev/full")
    status, _, told = machine.run("cloud", "list")
    assert status == 8
    assert "The end of its log:" in told


@pytest.mark.parametrize("words", ["--help", "--version", "cloud list", "plan schema"])
@pytest.mark.parametrize(("to", "told"), [(">/dev/full", "cli.output.unwritable"), (">&-", ""), ("<&-", "")])
def test_an_output_that_takes_nothing_is_no_crash(machine: Machine, words: str, to: str, told: str):
    command = f"{sys.executable} -m crossport.app {words} {to}"
    done = subprocess.run(
        ["bash", "-c", command],
        env=machine.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (told in done.stderr, "Traceback" in done.stderr) == (True, False), done.stderr
    assert done.returncode == (1 if told else 0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_serving_on_an_address_is_encrypted_and_proves_who_it_is(machine: Machine):
    port, senders = free_port(), machine.home / "senders.pem"
    machine.home.mkdir(exist_ok=True)
    senders.write_text("no certificate")
    wrong = machine.run("serve", "--listen", f"127.0.0.1:{port}", CROSSPORT_CLIENT_CA=str(senders))
    assert (wrong[0], "serve.client-ca.unreadable" in wrong[2]) == (2, True)
    authority_of_senders = SiteIdentity.open(machine.home / "senders", "senders", clock=SystemClock())
    senders.write_text(authority_of_senders.authority_pem)
    server = machine.start("serve", "--listen", f"127.0.0.1:{port}", CROSSPORT_CLIENT_CA=str(senders))
    machine.wait((machine.control / "socket").exists)
    url, authority = f"https://127.0.0.1:{port}", str(machine.control / "ca.pem")
    there = ["--server", url, "--ca", authority, "--token-file", str(machine.control / "token")]
    assert machine.run("cloud", "list", "--json", *there) == (0, "[]\n", "")
    tls = ssl.create_default_context(cafile=authority)
    assert httpx.get(f"{url}/healthz", verify=tls).json() == {"status": "ok"}
    assert httpx.get(f"{url}/v1/clouds", verify=tls).status_code == 401
    assert httpx.get(f"{url}/v1/sign-in", verify=tls).json()["bindings"] == ["dpop", "mtls"]
    status, _, told = machine.run("cloud", "list", "--server", url, "--token-file", authority)
    assert (status, "client.server.untrusted" in told) == (7, True)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 0
    assert not (machine.control / "socket").exists()


def test_a_site_with_a_name_proves_itself_under_every_name_it_is_reached_by(tmp_path: Path):
    machine = Machine(tmp_path / "home")
    name = {"CROSSPORT_SITE_NAME": "north"}
    try:
        # The site is older than the wish to reach it from elsewhere.
        assert machine.run("cloud", "list", CROSSPORT_IDLE_S="0.1", **name)[0] == 0
        machine.wait(lambda: not alive(machine.owner()))
        port = free_port()
        hosts = ("--host", "north.example", "--host", "192.0.2.7")
        server = machine.start("serve", "--listen", f"0.0.0.0:{port}", *hosts, **name)
        machine.wait(lambda: (machine.control / "socket").exists() or server.poll() is not None)
        tls = ssl.create_default_context(cafile=str(machine.control / "ca.pem"))
        for host in ("north.example", "192.0.2.7", "localhost"):
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                tls.wrap_socket(plain, server_hostname=host) as link,
            ):
                assert link.version() == "TLSv1.3"
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            socket.create_connection(("127.0.0.1", port)) as plain,
        ):
            tls.wrap_socket(plain, server_hostname="south.example")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        machine.end()


def test_listening_everywhere_without_a_name_is_refused_before_anything_starts(machine: Machine):
    status, _, told = machine.run("serve", "--listen", "0.0.0.0:8443")
    assert (status, "Code: serve.hosts.missing" in told) == (2, True)
    assert not machine.control.exists()


def test_help_costs_less_than_a_third_of_a_second_of_processor_time(machine: Machine):
    def spent() -> float:
        times = os.times()
        return times.children_user + times.children_system

    costs: list[float] = []
    for words in (["--help"], []):
        before = spent()
        for _ in range(3):
            machine.run(*words)
        costs.append((spent() - before) / 3)
    assert max(costs) < 0.3, costs
