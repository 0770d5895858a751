"""Talk to a QEMU process or storage daemon: one command, one answer, errors translated.

A connection is opened for each operation and closed after it; the socket takes one client at a time. A
client that failed to connect cannot be used again, so each attempt has its own.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, cast

from qemu.qmp import ExecuteError, QMPClient, QMPError

from crossport import errors
from crossport.hypervisor import unix_socket

__all__ = ["Monitor", "monitor"]

_COMMAND_S = 60.0
_CONNECT_S = 30.0
_RETRY_S = 0.05


class Monitor:
    """An open control connection."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout_s: float = _COMMAND_S
    ) -> Any:
        """Send ``command`` and return its answer.

        Raise Broken ``hypervisor.qmp.refused`` with QEMU's own words, Unavailable ``hypervisor.qmp.lost``
        when the connection breaks or the answer does not come.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise errors.Broken(
                "hypervisor.qmp.refused",
                f"QEMU refused {command}: {error.error.error.desc}.",
                remedy="Look at the VM's own log.",
            ) from error
        except (QMPError, OSError, EOFError, TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not _lost(self._client):
                raise
            raise _lost_error(command) from error

    async def ask(self, command: str, field: str) -> Any:
        """Send ``command`` and return one field of its answer.

        A QEMU that its guest has taken over answers what it likes: raise Broken ``hypervisor.qmp.malformed``
        when the field is not there.
        """
        answer = await self.execute(command)
        if not isinstance(answer, dict) or field not in answer:
            raise errors.Broken(
                "hypervisor.qmp.malformed",
                f"QEMU answered {command} without {field}.",
                remedy="It may be in its guest's hands: power the VM off and look at its log.",
            )
        return cast("dict[str, Any]", answer)[field]

    async def pass_descriptor(self, name: str, descriptor: int) -> None:
        """Give QEMU a copy of the open ``descriptor`` under ``name``."""
        self._client.send_fd_scm(descriptor)
        await self.execute("getfd", {"fdname": name})

    async def add_descriptor(self, descriptor: int) -> int:
        """Give QEMU a copy of the open ``descriptor`` as a set of its own: file ``/dev/fdset/N``."""
        self._client.send_fd_scm(descriptor)
        answer = cast("dict[str, int]", await self.execute("add-fd"))
        return answer["fdset-id"]

    async def ask_hmp(self, line: str) -> str:
        """Run one command that exists for people only, and return what it prints."""
        return str(await self.execute("human-monitor-command", {"command-line": line}))


@contextlib.asynccontextmanager
async def monitor(path: Path, *, timeout_s: float = _CONNECT_S) -> AsyncGenerator[Monitor]:
    """Connect to the control socket at ``path`` for as long as the context lasts.

    Raise Unavailable ``hypervisor.qmp.lost`` when nobody serves it within ``timeout_s``.
    """
    client = await _connected(path, timeout_s)
    try:
        yield Monitor(client)
    finally:
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(5):
                await client.disconnect()


async def _connected(path: Path, timeout_s: float) -> QMPClient:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        client = QMPClient(path.parent.name)
        client.logger.setLevel(logging.CRITICAL)
        try:
            link = unix_socket.connected(path, timeout_s=5)
            link.setblocking(False)
            async with asyncio.timeout(max(0.1, deadline - loop.time())):
                await client.connect(link)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            if loop.time() >= deadline or isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise _lost_error("connect") from error
            await asyncio.sleep(_RETRY_S)
        else:
            return client


def _lost(client: QMPClient) -> bool:
    return client.runstate.name != "RUNNING"


def _lost_error(command: str) -> errors.Unavailable:
    return errors.Unavailable(
        "hypervisor.qmp.lost",
        f"QEMU did not answer {command}.",
        remedy="See whether the VM still runs, then try again.",
    )
