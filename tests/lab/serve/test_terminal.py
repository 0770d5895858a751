"""A person at a real terminal presses Ctrl-C while a run is watched."""

import os
import pty
import select
import signal
import time
from collections.abc import Generator

import pytest
from tests.lab.serve.test_life import PROGRAM, Machine


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, machine: Machine, *words: str, **more: str) -> None:
        self.text = ""
        pid, self.descriptor = pty.fork()
        if not pid:
            environment = machine.environment(TERM="xterm", COLUMNS="100", **more)
            os.execve(PROGRAM[0], [*PROGRAM, *words], environment)  # noqa: S606
        self.pid = pid

    def until(self, text: str, seconds: float = 20) -> str:
        """Return what was shown when ``text`` appears behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.descriptor], [], [], 0.2)[0]:
                self.text += self._read()
        shown, _, self.text = self.text.partition(text)
        return shown + text

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def end(self) -> int:
        """Return the exit status."""
        while part := self._read():
            self.text += part
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> str:
        try:
            return os.read(self.descriptor, 65536).decode(errors="replace")
        except OSError:
            return ""


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    """One server for all tests of this file, with a VM for each."""
    machine = Machine(tmp_path_factory.mktemp("home"))
    machine.run("cloud", "add", "alpha", "memory", "--set", "vms=web1,web2,web3,web4")
    machine.run("cloud", "add", "beta", "memory")
    yield machine
    machine.end()


def move(vm: str) -> tuple[str, ...]:
    return ("migrate", vm, "--from", "alpha", "--to", "beta")


def test_detaching_leaves_the_run_alone_and_says_how_to_go_on(clouds: Machine):
    terminal = Terminal(clouds, *move("web1"))
    terminal.until("image_creation")
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("d\n")
    run = terminal.until("crossport run cancel run-0001").rpartition(" ")[2]
    assert terminal.end() == 0
    assert clouds.run("run", "watch", run)[0] == 0


def test_cancelling_is_watched_to_its_end(clouds: Machine):
    terminal = Terminal(clouds, *move("web2"))
    terminal.until("image_creation")
    terminal.type("\x03")
    terminal.until("[d/c]")
    terminal.type("c\n")
    terminal.until("cancelled")
    assert terminal.end() == 6


def test_without_a_terminal_an_interrupt_detaches(clouds: Machine):
    command = clouds.start(*move("web3"))
    assert command.stdout
    while "running" not in command.stdout.readline():
        pass
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=20)
    assert "crossport run watch run-" in told
    assert command.returncode == 130


def test_a_terminal_shows_phases_rate_and_report(clouds: Machine):
    terminal = Terminal(clouds, *move("web4"))
    terminal.until("120 MiB of 120 MiB")
    shown = terminal.until("crossport source retire")
    assert "Estimate against actual" in shown
    assert "\x1b[32m" in shown
    assert terminal.end() == 0
