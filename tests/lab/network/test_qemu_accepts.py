"""QEMU takes what the fabrics tell it: the user-mode network with its forwards, and the open tap."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from tests.lab.network.world import FRONT, OPEN, World, world

from crossport.clouds.local import network
from crossport.model.construct import Network

__all__ = ["world"]

pytestmark = pytest.mark.qemu


async def qemu(netdev: dict[str, object], monitor: list[str], descriptors: tuple[int, ...] = ()) -> str:
    """Start QEMU with the netdev alone, give it monitor commands, and return what it said."""
    process = await asyncio.create_subprocess_exec(
        *("qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"),
        *("-netdev", json.dumps({"id": "n0", **netdev})),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=descriptors,
    )
    said, _ = await process.communicate("\n".join([*monitor, "quit", ""]).encode())
    assert process.returncode == 0, said
    return said.decode()


@pytest.mark.parametrize("cidr", ["10.20.0.0/24", "10.20.0.4/30"])
@pytest.mark.parametrize("addresses", [("10.20.0.6/24",), ()], ids=["address", "no-address"])
async def test_the_user_mode_network_and_its_forwards(cidr: str, addresses: tuple[str, ...]) -> None:
    cloud = network.fabric("user", "alpha-id", "alpha", home="home")
    of = Network(name="front", cidr=cidr, gateway="10.20.0.5")
    port = replace(World("home").port(FRONT, 5, OPEN), network=of, addresses=addresses)
    backend = await cloud.attach(port)
    said = await qemu(
        dict(backend.netdev),
        ["hostfwd_add n0 tcp:127.0.0.1:29999-10.20.0.6:80", "info usernet", "info network"],
    )
    assert "29999" in said.partition("info usernet")[2]
    assert "restrict=on" in said


@pytest.mark.root
async def test_the_open_tap(world: World) -> None:
    port = world.port(FRONT, 5, OPEN)
    backend = await world.alpha.attach(port)
    tap = backend.descriptors["fd"]
    try:
        said = await qemu({**backend.netdev, "fd": str(tap)}, ["info network"], (tap,))
    finally:
        os.close(tap)
        await world.alpha.detach(port.vm_id, 0)
    assert f"fd={tap}" in said
