"""Workers of one tenant share content through a stock of their host; those of another see nothing of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.transfer.transfer_lab import Lab

from crossport.model.artifact import Moved, Progress
from crossport.testing.conformance.block import noise
from crossport.transfer.confined import LocalHost
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.simple import SimpleMover
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks

MIB = 1 << 20
CONTENT = noise(6 * MIB)


@pytest.fixture
def mover(lab: Lab, tmp_path: Path) -> SimpleMover:
    host = LocalHost(tmp_path / "journals", Stocks(tmp_path / "stocks", 4 * SEGMENT))
    return SimpleMover(host, lab.clock, names=NameKeys(bytes(32)))


async def moved(lab: Lab, mover: SimpleMover, run: str, tenant: str = "acme") -> Moved:
    source, target = lab.file(CONTENT), lab.file(size=len(CONTENT))
    read, write = (
        replace(ticket, run=run, tenant=tenant, nonce=f"{run}-{ticket.way}")
        for ticket in lab.tickets(source, replace(target, identity=target.locator))
    )
    found = await mover.move(read, write, ignore)
    assert Path(target.locator).read_bytes() == CONTENT
    return found


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


async def test_what_an_earlier_run_of_the_tenant_brought_is_not_sent(lab: Lab, mover: SimpleMover) -> None:
    first = await moved(lab, mover, "run-1")
    again = await moved(lab, mover, "run-2")
    other = await moved(lab, mover, "run-3", "evil")
    assert first.counters.sent > len(CONTENT)
    assert again.counters.sent < 16 << 10
    assert again.counters.shared == again.counters.offered == len(CONTENT)
    assert (other.counters.offered, other.counters.shared) == (0, 0)
    assert other.counters.sent > len(CONTENT)
