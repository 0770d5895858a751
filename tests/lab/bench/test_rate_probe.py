"""Measuring a link: real workers, over a link of a known rate, over one that is slow, and over none."""

import os
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass

import pytest

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.model.artifact import Place
from crossport.transfer.confined import LocalHost
from crossport.transfer.rate_probe import ProbeBounds, WorkerRateProbe
from crossport.units import MIB


@pytest.fixture
def probe() -> WorkerRateProbe:
    return WorkerRateProbe(LocalHost(), SystemClock())


@dataclass
class Link:
    """Two namespaces joined by one link."""

    names: tuple[str, str]

    def ends(self) -> tuple[Place, Place]:
        first, second = (
            Place(cloud=name, subnet="", address=f"10.98.8.{number}", namespace=name)
            for number, name in enumerate(self.names, 1)
        )
        return first, second

    def limit(self, rate: str) -> None:
        for name in self.names:
            _run("tc", "-n", name, "qdisc", "replace", "dev", "wan", "root", "tbf", "rate", rate)

    def cut(self) -> None:
        _run("ip", "-n", self.names[0], "link", "set", "wan", "down")


def _run(program: str, *arguments: str) -> None:
    extra = ("burst", "64kb", "latency", "50ms") if program == "tc" else ()
    subprocess.run([program, *arguments, *extra], check=True)


@pytest.fixture
def link() -> Generator[Link]:
    names = f"xpb{os.getpid()}a", f"xpb{os.getpid()}b"
    for name in names:
        _run("ip", "netns", "add", name)
    _run(
        *("ip", "link", "add", "wan", "netns", names[0], "type", "veth"),
        *("peer", "name", "wan", "netns", names[1]),
    )
    for number, name in enumerate(names, 1):
        _run("ip", "-n", name, "address", "add", f"10.98.8.{number}/24", "dev", "wan")
        _run("ip", "-n", name, "link", "set", "wan", "up")
    yield Link(names)
    for name in names:
        _run("ip", "netns", "delete", name)


async def test_without_a_limit_the_machine_itself_is_measured(probe: WorkerRateProbe):
    here = Place(cloud="here", subnet="", address="127.0.0.1")
    found = await probe.measure(here, here)
    assert 1 * MIB < found.size <= 49 * MIB
    assert found.bps > 50e6


@pytest.mark.root
async def test_a_limited_link_is_measured_as_what_it_carries(probe: WorkerRateProbe, link: Link):
    link.limit("100mbit")
    began = time.monotonic()
    found = await probe.measure(*link.ends())
    assert time.monotonic() - began < 8
    # tbf counts Ethernet frames; TLS, TCP and IP take about 6 % of them.
    assert 80e6 < found.bps < 101e6


@pytest.mark.root
async def test_a_link_too_slow_for_the_noise_is_measured_by_what_arrived(link: Link):
    link.limit("8mbit")
    probe = WorkerRateProbe(LocalHost(), SystemClock(), ProbeBounds(limit_s=4.0))
    began = time.monotonic()
    found = await probe.measure(*link.ends())
    assert time.monotonic() - began < 6
    assert 4e6 < found.bps < 10e6


@pytest.mark.root
async def test_a_link_that_is_cut_is_an_error_within_the_limit(link: Link):
    link.cut()
    probe = WorkerRateProbe(LocalHost(), SystemClock(), ProbeBounds(limit_s=2.0))
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        await probe.measure(*link.ends())
    assert time.monotonic() - began < 5
