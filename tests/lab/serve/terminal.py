"""A command on a terminal, as a person has it."""

import os
import pty
import select
import time

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
