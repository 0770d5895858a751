"""What the simulation of two sites does not let pass: it soon finds each promise that is broken.

Each is broken by a patch; that it is found shows that the schedules reach what the promise is there for.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.playing import play
from tests.simulation.two_sites import FarSchedule

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.identity import statement as statements
from crossport.migration.local_site import LocalSite
from crossport.migration.partner import foreign
from crossport.model import codec
from crossport.model.permit import SignedStatement, Stated, Statement, StatementKind
from crossport.model.role import RoleDocument
from crossport.model.run import Act
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import RoomFor
from crossport.testing.run import DirectLedger

Patch = pytest.MonkeyPatch
SEEDS = 300
ENTERED = "_entered"


def fence_holds_nobody(patch: Patch) -> None:
    """A fenced VM can be started."""

    async def start(cloud: Any, act: Act, vm_id: str) -> None:
        del act
        vm: VM = await cloud.vm(vm_id)
        cloud._store.put("vms", vm_id, replace(vm, power=PowerState.RUNNING))

    patch.setattr(MemoryCloud, "start", start)


def old_epochs_act(patch: Patch) -> None:
    """What an execution had sent that was taken over is still done."""
    entered = getattr(foreign, ENTERED)

    def any_epoch(known: foreign.ForeignRun, entry: foreign.Entry) -> foreign.ForeignRun:
        return entered(replace(known, epoch=0), entry)

    patch.setattr(foreign, ENTERED, any_epoch)

    def admit(cloud: MemoryCloud, act: Act) -> None:
        del cloud, act

    patch.setattr(MemoryCloud, "_admit", admit)


def anybody_states(patch: Patch) -> None:
    """A statement counts whoever signed it."""

    def believed(said: SignedStatement, document: RoleDocument, *of: object) -> Statement:
        del document, of
        return codec.decoded(base64.b64decode(said.payload), Stated).statement

    patch.setattr(statements, "believed", believed)


def withdrawal_is_forgotten(patch: Patch) -> None:
    """The source says that no permit will come, and does not write that down."""

    async def withdraw(site: Any, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        del cloud, sure
        return site._cutover.statement(act, StatementKind.NO_PERMIT, vm_id)

    patch.setattr(LocalSite, "withdraw", withdraw)


def late_calls_make(patch: Patch) -> None:
    """What comes when a run was cleaned up still makes things."""
    entered = getattr(foreign, ENTERED)

    def never_closed(known: foreign.ForeignRun, entry: foreign.Entry) -> foreign.ForeignRun:
        return entered(replace(known, closed=False), entry)

    patch.setattr(foreign, ENTERED, never_closed)


def room_is_made_anew(patch: Patch) -> None:
    """Room is made also where the copy stands already."""
    prepare: Any = LocalSite.prepare_import

    async def made(site: Any, act: Act, cloud: str, rooms: tuple[RoomFor, ...]) -> Any:
        ledger, site._ledger = site._ledger, DirectLedger()
        try:
            return await prepare(site, act, cloud, rooms)
        finally:
            for entry in await site._ledger.entries(act.run):
                await ledger.settle(entry)
            site._ledger = ledger

    patch.setattr(LocalSite, "prepare_import", made)


MUTATIONS: list[tuple[Callable[[Patch], None], int]] = [
    (fence_holds_nobody, 8),
    (old_epochs_act, 173),
    (anybody_states, 10),
    (withdrawal_is_forgotten, 0),
    (late_calls_make, 107),
    (room_is_made_anew, 1744),
]
"""With the seed of a schedule that finds it; others are tried when another one has taken its place."""


@pytest.mark.parametrize(("mutation", "seed"), MUTATIONS)
async def test_a_broken_promise_is_found(
    mutation: Callable[[Patch], None], seed: int, tmp_path: Path, monkeypatch: Patch
):
    mutation(monkeypatch)
    with pytest.raises((AssertionError, errors.Refused, errors.Conflict)) as found:
        await play(FarSchedule, range(seed, seed + SEEDS), tmp_path)
    assert found.value.__notes__[0].startswith("seed ")
