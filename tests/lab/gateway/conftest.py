"""Fixtures of the tests of gateways as processes."""

import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from tests.lab.gateway.between import DEVICE, Between, run
from tests.unit.gateway import rig


@pytest.fixture
def namespaces() -> Generator[tuple[str, str]]:
    """Two network namespaces, 10.98.9.1 and 10.98.9.2, joined by a link."""
    names = f"xpn{os.getpid()}a", f"xpn{os.getpid()}b"
    for name in names:
        run("ip", "netns", "add", name)
    ends = ("netns", names[0], "type", "veth", "peer", "name", DEVICE, "netns", names[1])
    run("ip", "link", "add", DEVICE, *ends)
    for number, name in enumerate(names, 1):
        run("ip", "-n", name, "address", "add", f"10.98.9.{number}/24", "dev", DEVICE)
        run("ip", "-n", name, "link", "set", DEVICE, "up")
    yield names
    for name in names:
        run("ip", "netns", "delete", name)


@pytest.fixture
async def between(namespaces: tuple[str, str], tmp_path: Path) -> AsyncGenerator[Between]:
    """Two gateways, connected to their site."""
    site = await rig.opened(tmp_path)
    one = Between(site, namespaces, tmp_path)
    try:
        await one.join()
        yield one
    finally:
        one.close()
        await site.close()
