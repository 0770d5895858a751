"""Kill an embedded cloud's service at each thing it does to the world: done again, all ends well.

Files, processes, sockets and users are compared with the state, once what was killed was done again, and once
more when it was taken back.
"""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.local import clouds, dying
from tests.lab.local.operations import OPERATIONS

from crossport.clouds.local import destroy
from crossport.units import MIB

pytestmark = [pytest.mark.qemu]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    place = tmp_path_factory.mktemp("clouds") / "alpha"
    image = place.parent / "image"
    image.write_bytes(b"no boot sector".ljust(MIB, b"\0"))
    asyncio.run(clouds.prepared(place, image, network="user", idle_s=0.1))
    yield place
    asyncio.run(destroy(place))


def wrongs(root: Path, name: str, points: slice) -> list[str]:
    """Kill the operation at each of these points, and return what went wrong."""
    word, found = name.replace(" ", "-"), list[str]()
    count: int = dying.forked(root, dying.killed, name, f"{word}-whole", 0)
    dying.forked(root, dying.repeated, name, f"{word}-whole")
    for at in range(1, count + 1)[points]:
        step = f"{word}-{at}"
        assert dying.forked(root, dying.killed, name, step, at) == -9
        try:
            found += [f"{step}: {one}" for one in dying.forked(root, dying.repeated, name, step)]
        except Exception as error:  # noqa: BLE001 - what is tested
            found.append(f"{step} cannot be done again: {error!r}")
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_was_killed_is_done_again_and_leaks_nothing(root: Path, name: str):
    assert wrongs(root, name, slice(None, None, 3)) == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", OPERATIONS)
def test_wherever_it_was_killed_it_is_done_again_and_leaks_nothing(root: Path, name: str):
    assert wrongs(root, name, slice(None)) == []
