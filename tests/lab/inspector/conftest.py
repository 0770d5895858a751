"""The appliance that several tests look into guests with, built once."""

import os

import pytest

from crossport.cli.demo.play import guest_cache
from crossport.inspector import Appliance, build


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    folder = tmp_path_factory.mktemp("appliance")
    made = build(folder, cache=guest_cache(os.environ))
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)  # pytest closes them to others
    return made
