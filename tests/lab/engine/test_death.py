"""Kill real engine processes; the runs must end as if nothing had happened.

Every boundary of every step is met by a run of its own: they all stand still at theirs when the process
gets its SIGKILL. What the steps do to the world is written into a file by the steps themselves.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from crossport.testing.postgresql import Postgresql, running_postgresql

NODE = Path(__file__).with_name("node.py")
STEPS = [f"s{number}" for number in range(1, 9)]
BOUNDARIES = [(at, halt) for at in range(1, 9) for halt in ("before-call", "after-call", "after-record")]
LEASE_S = 1.5
LONG_S = 150.0


class Node:
    """A running node. Talks to it by lines; ``tell`` returns what it says next about something."""

    def __init__(self, home: Path, name: str, database_url: str) -> None:
        config = {
            "state_dir": str(home / name),
            "node": name,
            "database_url": database_url,
            "effects": str(home / "effects"),
            "lease_s": LEASE_S,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(NODE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told: list[dict[str, Any]] = []
        self.say(config)

    def say(self, words: Mapping[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def hear(self, about: str, value: str) -> dict[str, Any]:
        """Return the line that says ``value`` of ``about``; the engine's log is skipped."""
        assert self.process.stdout is not None
        while True:
            for words in self.told:
                if words.get(about) == value:
                    return words
            line = self.process.stdout.readline()
            assert line, f"the node died with {self.process.wait(LONG_S)}"
            if line.startswith("{"):
                self.told.append(json.loads(line))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(LONG_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Field:
    """Some nodes around one file of effects."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.database_url = database_url
        self.nodes: list[Node] = []

    def node(self, name: str = "a") -> Node:
        node = Node(self.home, name, self.database_url)
        self.nodes.append(node)
        node.hear("opened", name)
        return node

    def effects(self) -> list[list[str]]:
        """Return lines of run, epoch, node, step, word."""
        path = self.home / "effects"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def until(self, condition: Callable[[list[list[str]]], bool]) -> None:
        deadline = time.monotonic() + LONG_S
        while not condition(self.effects()):
            assert time.monotonic() < deadline, self.effects()
            time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with running_postgresql() as server:
        yield server


@pytest.fixture
def field(tmp_path: Path, request: pytest.FixtureRequest, server: Postgresql) -> Iterator[Field]:
    field = Field(tmp_path, server.database() if request.param == "postgresql" else "")
    yield field
    for node in field.nodes:
        node.end()


both = pytest.mark.parametrize("field", ["sqlite", "postgresql"], indirect=True)
shared = pytest.mark.parametrize("field", ["postgresql"], indirect=True)
pytestmark = pytest.mark.postgresql


def name_of(at: int, halt: str) -> str:
    return f"{halt}-{at}"


def story_of(ended: dict[str, Any]) -> list[str]:
    """Return the story without the lines that say that another execution took over."""
    return [line for line in ended["story"] if "continues the run" not in line]


def done_per_step(field: Field, run: str) -> Counter[str]:
    return Counter(
        step for name, _epoch, _node, step, word in field.effects() if (name, word) == (run, "effect")
    )


@both
def test_runs_killed_at_every_boundary_end_like_the_undisturbed_one(field: Field) -> None:
    node = field.node()
    node.say({"run": "calm", "walk": {}})
    calm = node.hear("ended", "calm")
    assert calm["report"] == {"total": 33, "refused": "walk.blocked Go around."}
    for at, halt in BOUNDARIES:
        node.say({"run": name_of(at, halt), "walk": {"at": at, "halt": halt}})
    field.until(lambda lines: sum(line[-1] == "halted" for line in lines) == len(BOUNDARIES))
    node.signal(signal.SIGKILL)
    node = field.node()
    for at, halt in BOUNDARIES:
        run = name_of(at, halt)
        node.say({"run": run})
        ended = node.hear("ended", run)
        assert (ended["state"], ended["epoch"], ended["report"]) == ("done", 2, calm["report"]), run
        assert story_of(ended) == calm["story"], run
        assert ended["numbers"] == list(range(1, len(ended["numbers"]) + 1)), run
        # Only what was done and not yet written down is done again.
        again = {f"s{at}"} if halt == "after-call" else set[str]()
        assert done_per_step(field, run) == Counter({step: 2 if step in again else 1 for step in STEPS}), run


@shared
def test_another_node_goes_on_with_the_runs_of_a_killed_one(field: Field) -> None:
    first, second = field.node("a"), field.node("b")
    names = [f"walk-{number}" for number in range(4)]
    for number, run in enumerate(names):
        first.say({"run": run, "walk": {"at": 2 + number, "halt": "after-call"}})
    field.until(lambda lines: sum(line[-1] == "halted" for line in lines) == len(names))
    first.signal(signal.SIGKILL)
    killed = time.monotonic()
    for number, run in enumerate(names):
        second.say({"run": run})
        ended = second.hear("ended", run)
        assert (ended["state"], ended["report"]["total"]) == ("done", 33)
        again = f"s{2 + number}"
        assert done_per_step(field, run) == Counter({step: 2 if step == again else 1 for step in STEPS})
    assert time.monotonic() - killed < 5 * LEASE_S + 5


@shared
def test_a_node_that_hung_and_wakes_up_does_not_act_any_more(field: Field) -> None:
    first, second = field.node("a"), field.node("b")
    first.say({"run": "walk", "walk": {"pace_s": 0.2}})
    field.until(lambda lines: any(line[3:] == ["s4", "begins"] for line in lines))
    first.signal(signal.SIGSTOP)
    second.say({"run": "walk"})
    ended = second.hear("ended", "walk")
    assert (ended["state"], ended["report"]["total"]) == ("done", 33)
    assert ended["numbers"] == list(range(1, len(ended["numbers"]) + 1))
    before = field.effects()
    first.signal(signal.SIGCONT)
    # It knows that it was taken for dead, joins again, and is of use again.
    first.say({"run": "new", "walk": {}})
    assert first.hear("ended", "new")["state"] == "done"
    since = [line for line in field.effects()[len(before) :] if line[0] == "walk"]
    assert since == []
    second.say({"run": "walk"})
    assert second.hear("ended", "walk")["epoch"] == ended["epoch"]


@shared
def test_a_node_that_hung_while_everything_went_on_without_it_keeps_its_new_runs(field: Field) -> None:
    first = field.node("a")
    first.say({"run": "walk", "walk": {"pace_s": 0.2}})
    field.until(lambda lines: any(line[3:] == ["s2", "begins"] for line in lines))
    first.signal(signal.SIGSTOP)
    time.sleep(2 * LEASE_S)  # nobody else is there to take over
    first.signal(signal.SIGCONT)
    ended = first.hear("ended", "walk") if first.say({"run": "walk"}) is None else {}
    assert (ended["state"], ended["epoch"]) == ("done", 1)
    assert done_per_step(field, "walk") == Counter(dict.fromkeys(STEPS, 1))


@shared
def test_runs_outlive_broken_connections_to_the_database(field: Field, server: Postgresql) -> None:
    node = field.node()
    node.say({"run": "walk", "walk": {"pace_s": 0.1}})
    for step in ("s2", "s5"):
        field.until(lambda lines, step=step: any(line[3:] == [step, "begins"] for line in lines))
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    node.say({"run": "walk"})
    ended = node.hear("ended", "walk")
    assert (ended["state"], ended["report"]["total"]) == ("done", 33)
    assert set(done_per_step(field, "walk")) == set(STEPS)


@pytest.mark.soak
@pytest.mark.timeout(600)
@both
def test_a_process_that_dies_again_and_again_gets_there(field: Field) -> None:
    names = [f"walk-{number}" for number in range(12)]
    moments = random.Random(7)  # noqa: S311 -- the same deaths every time, no secret
    node = field.node()
    for run in names:
        node.say({"run": run, "walk": {"pace_s": 0.3}})
    for _ in range(12):
        time.sleep(1.0 + moments.random())
        node.signal(signal.SIGKILL)
        node = field.node()
    for run in names:
        node.say({"run": run})
        ended = node.hear("ended", run)
        assert (ended["state"], ended["report"]["total"]) == ("done", 33)
        assert ended["numbers"] == list(range(1, len(ended["numbers"]) + 1))
        assert set(done_per_step(field, run)) == set(STEPS)
