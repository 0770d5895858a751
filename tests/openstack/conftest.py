"""Both clouds with a project for guests, made once; the small guest as an image."""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.openstack.clouds import CLOUDS, Project, connected, guest_qcow2, image_of, project


@pytest.fixture(scope="session")
def projects() -> Generator[dict[str, Project]]:
    """The projects of the clouds by their names."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                project(
                    connected(name),
                    f"10.{number}.0.0/24",
                    (f"10.90.0.{96 + 32 * number}", f"10.90.0.{126 + 32 * number}"),
                )
            )
            for number, name in enumerate(CLOUDS, 1)
        }


@pytest.fixture(scope="session")
def guest_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small guest's disk as qcow2."""
    return guest_qcow2(tmp_path_factory.mktemp("guest"))


@pytest.fixture(scope="session")
def small(projects: dict[str, Project], guest_disk: Path) -> Generator[str]:
    """The id of the small guest's image in the north."""
    with image_of(projects["north"], "small", guest_disk) as image:
        yield image
