"""The mover passes its suite where one end is at a partner, which starts the worker of that end itself."""

from pathlib import Path

import pytest
from tests.conformance.test_movers import FileBench
from tests.unit.transfer.two_sites import AbroadMover, local, two_sites

from crossport.model.artifact import Way
from crossport.testing.conformance.block import noise
from crossport.testing.conformance.mover import DigestingMover, MoverConformance, root_of, tickets
from crossport.testing.mover import CHUNK


class PartnerBench(FileBench):
    """Files of this machine, the one end's at a partner."""

    def __init__(self, directory: Path, abroad: Way) -> None:
        super().__init__(directory)
        self.mover: DigestingMover = AbroadMover(
            *two_sites(local(directory / "north"), local(directory / "south")), abroad
        )


class TestMoverToPartner(MoverConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> PartnerBench:
        return PartnerBench(tmp_path, Way.WRITE)


async def test_a_copy_from_a_partner_is_made_again_with_what_had_arrived(tmp_path: Path):
    bench = PartnerBench(tmp_path, Way.READ)
    content = noise(3 * CHUNK + 100)
    source, target = bench.source(content), bench.target(len(content))
    first = await bench.mover.move(*tickets(bench, source, target), lambda progress: None)
    again = await bench.mover.move(*tickets(bench, source, target), lambda progress: None)
    assert first.root == again.root == root_of(content)
    assert bench.content(target) == content
    assert (again.counters.written, again.counters.present) == (0, len(content))
