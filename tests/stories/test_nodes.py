"""Two servers of one site on one PostgreSQL: one is killed, and the other ends its run, asked by its API."""

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.serve.test_life import Machine

from crossport.clouds.memory import MemoryCloud
from crossport.model.run import Act
from crossport.testing.postgresql import running_postgresql
from crossport.testing.world import ALPHA, BETA, web_vm

pytestmark = pytest.mark.postgresql
KEY = Path("control/identity/master.key")


class Node(Machine):
    """A machine whose server is one node of the site."""

    def __init__(self, home: Path, database_url: str) -> None:
        super().__init__(home)
        self.database_url = database_url

    def environment(self, **more: str) -> dict[str, str]:
        shared = {"CROSSPORT_DATABASE_URL": self.database_url, "CROSSPORT_NODE": self.home.name}
        return super().environment(**shared | more)

    def serve(self) -> None:
        """Start the server and return when it can be asked."""
        server = self.start("serve")
        self.wait(lambda: (self.control / "socket").exists() or server.poll() is not None, 60)
        assert server.poll() is None, server.communicate()

    def answered(self, *words: str) -> Any:
        """Run a command with --json; return what it printed."""
        status, out, told = self.run(*words, "--json")
        assert status == 0, told
        return json.loads(out)

    def join(self, other: "Node") -> None:
        """Be another node of the site of ``other``, which serves already: it takes the site's master key."""
        for directory in (self.home, self.control, (self.home / KEY).parent):
            directory.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(other.home / KEY, self.home / KEY)
        self.serve()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with running_postgresql() as server:
        url = server.database()
        both = Node(tmp_path / "first", url), Node(tmp_path / "second", url)
        yield both
        for node in both:
            node.end()


def test_a_node_ends_the_run_of_another_that_was_killed(nodes: tuple[Node, Node], tmp_path: Path):
    first, second = nodes
    clouds = {name: MemoryCloud(name, tmp_path / name) for name in ("alpha", "beta")}
    clouds["alpha"].found(ALPHA)
    clouds["beta"].found(BETA)
    asyncio.run(clouds["alpha"].create_vm(Act(run="web", step="create", epoch=1), web_vm(), "boot and data"))

    first.serve()
    status, _, told = second.run("serve")
    assert (status, "identity.key.missing" in told, str(KEY.name) in told) == (7, True, True)

    second.join(first)
    authorities = {(node.home / KEY.parent / "authority.pem").read_bytes() for node in nodes}
    assert len(authorities) == 1

    for name in clouds:
        first.answered("cloud", "add", name, "memory", "--set", f"path={tmp_path / name}")
    move = ("migrate", "web", "--from", "alpha", "--to", "beta", "--commit", "manual")
    _, told, _ = first.run(*move)
    run = told.split()[1].rstrip(":")
    assert second.answered("run", "show", run)["run"]["node"] == "first"

    killed = first.started[0]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    second.answered("run", "commit", run)
    second.wait(lambda: second.answered("run", "list")[0]["state"] == "done", 90)
    ended = second.answered("run", "show", run)
    assert (ended["node"], ended["epoch"]) == ("second", 2)
    report = second.answered("run", "report", run)
    assert (report["outcome"], report["verified"]) == ("done", "at rest")
    (copy,) = second.answered("vm", "list", "beta")
    assert (copy["power"], copy["quarantined"]) == ("running", False)
