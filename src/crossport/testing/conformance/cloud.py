"""What every cloud promises, as tests: one class for each small ability, for every driver.

Derive a class named ``Test…`` from the abilities that the driver has (no test's name is used twice) and give
it the fixture ``stage``: the driver, connected, and what a test needs around it. Every test acts in a run of
its own, so that many can share one cloud.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from crossport import errors
from crossport.model.artifact import Artifact, Way
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET
from crossport.model.health import Probe
from crossport.model.run import Act
from crossport.model.vm import VM, PowerState
from crossport.spi.block import BlockWriter

__all__ = [
    "CloudConformance",
    "CloudStage",
    "ConsoleConformance",
    "FencerConformance",
    "GatewayHostConformance",
    "IdentifiedConformance",
    "InventoryConformance",
    "PowerConformance",
    "ProberConformance",
    "ProvisionerConformance",
    "StagedConformance",
    "act",
    "made_vm",
    "refused_as_old",
]


class CloudStage(Protocol):
    """A cloud under test. ``cloud`` is the driver; tests use it as whatever ability they are about."""

    cloud: Any
    image: str
    """From which ``create_vm`` makes a VM that starts and answers ``probe``."""
    probe: Probe
    shutdown_s: float
    """How long its guest may take to start and to shut down."""
    other_project: str
    """A project that is not the credential's own."""

    def described(self, name: str) -> VM:
        """Return a small VM that the cloud can make: its first disk is at most a few hundred MB."""
        ...

    async def content(self, artifact: Artifact) -> bytes:
        """Open the artifact for reading and return all its bytes."""
        ...

    async def fill(self, artifact: Artifact, content: bytes) -> None:
        """Open the artifact for writing, put ``content`` at its start, durably, and close it."""
        ...

    def writer(self, artifact: Artifact) -> BlockWriter:
        """Open the artifact for writing."""
        ...


class StagedConformance:
    """What the suites share: a run of its own for every test, and VMs to try things on."""

    @pytest.fixture
    def stage(self) -> CloudStage:
        """Return the cloud under test."""
        raise NotImplementedError("the implementation under test gives this fixture")

    @pytest.fixture
    def run(self, request: pytest.FixtureRequest) -> str:
        """Return a run that no other test uses."""
        number = sum(ord(letter) * (place + 1) for place, letter in enumerate(request.node.nodeid))
        return f"run-{number:x}"

    @pytest.fixture
    async def stopped(self, stage: CloudStage, run: str) -> VM:
        """Return a VM that is off."""
        return await made_vm(stage, run, power_on=False)

    @pytest.fixture
    async def running(self, stage: CloudStage, run: str) -> VM:
        """Return a VM that runs."""
        return await made_vm(stage, run, power_on=True)


async def made_vm(stage: CloudStage, run: str, *, power_on: bool, name: str = "") -> VM:
    """Make a VM outside the test's own run."""
    act = Act(run=f"setup-{run}", step=f"make-{name}", epoch=1)
    vm: VM = await stage.cloud.create_vm(act, stage.described(name or f"vm-{run}"), stage.image, power_on)
    return vm


async def refused_as_old(call: Callable[[Act], Awaitable[object]], run: str) -> None:
    """Check that a call is refused in an epoch that is over. A higher one must have been seen."""
    with pytest.raises(errors.Refused) as refusal:
        await call(Act(run=run, step="too-late", epoch=1))
    assert refusal.value.code == "cloud.epoch.old"


def act(run: str, step: str, epoch: int = 2) -> Act:
    """Return a name to act in. Its epoch is 2, so that there is an older one."""
    return Act(run=run, step=step, epoch=epoch)


class CloudConformance(StagedConformance):
    """The connection itself."""

    async def test_it_proves_that_it_answers(self, stage: CloudStage) -> None:
        assert await stage.cloud.check()

    async def test_it_may_be_closed_twice(self, stage: CloudStage) -> None:
        await stage.cloud.close()
        await stage.cloud.close()


class InventoryConformance(StagedConformance):
    """`crossport.spi.cloud.Inventory`."""

    async def test_there_is_something_to_map_to(self, stage: CloudStage) -> None:
        found = await stage.cloud.constructs()
        assert found.cloud == stage.cloud.name
        assert found.zones
        assert found.flavors
        assert [network for network in found.networks if not network.reserved]

    async def test_an_unknown_project_is_not_found(self, stage: CloudStage) -> None:
        with pytest.raises(errors.NotFound):
            await stage.cloud.constructs("no-such-project")

    async def test_a_vm_is_found_by_id_and_by_name(self, stage: CloudStage, stopped: VM) -> None:
        assert (await stage.cloud.vm(stopped.id)).id == stopped.id
        assert (await stage.cloud.vm(stopped.name)).id == stopped.id

    @pytest.mark.parametrize("name", ["no-such-vm", "no/such", "..", "\0", "x" * 300, "Ж" * 150])
    async def test_an_unknown_vm_is_not_found(self, stage: CloudStage, name: str) -> None:
        with pytest.raises(errors.NotFound) as refusal:
            await stage.cloud.vm(name)
        assert refusal.value.code == "vm.unknown"

    async def test_a_name_that_two_vms_have_is_ambiguous(self, stage: CloudStage, run: str) -> None:
        name = f"two-{run}"
        first = await made_vm(stage, f"{run}-a", power_on=False, name=name)
        second = await made_vm(stage, f"{run}-b", power_on=False, name=name)
        with pytest.raises(errors.Conflict) as refusal:
            await stage.cloud.vm(name)
        assert refusal.value.code == "vm.name.ambiguous"
        assert (await stage.cloud.vm(first.id)).id == first.id
        assert (await stage.cloud.vm(second.id)).id == second.id

    async def test_vms_are_told_by_name_then_id(self, stage: CloudStage, stopped: VM) -> None:
        found = await stage.cloud.vms()
        assert stopped.id in [vm.id for vm in found]
        assert [(vm.name, vm.id) for vm in found] == sorted((vm.name, vm.id) for vm in found)

    async def test_what_a_vm_uses_is_no_longer_free(self, stage: CloudStage, run: str) -> None:
        before = (await stage.cloud.constructs()).free
        vm = await made_vm(stage, run, power_on=False)
        after = (await stage.cloud.constructs()).free
        assert (before.vms - after.vms, before.cpus - after.cpus) == (1, vm.cpus)
        assert before.memory - after.memory == vm.memory
        assert before.disk - after.disk == sum(disk.size for disk in vm.disks)


class ProvisionerConformance(StagedConformance):
    """`crossport.spi.cloud.Provisioner`."""

    async def test_the_same_act_makes_one_vm(self, stage: CloudStage, run: str) -> None:
        first = await made_vm(stage, run, power_on=False)
        again = await made_vm(stage, run, power_on=False)
        assert first.id == again.id
        assert [vm.id for vm in await stage.cloud.vms() if vm.name == first.name] == [first.id]

    async def test_a_new_vm_is_as_described(self, stage: CloudStage, stopped: VM) -> None:
        wanted = stage.described(stopped.name)
        assert (stopped.flavor, stopped.firmware, stopped.keys) == (
            wanted.flavor,
            wanted.firmware,
            wanted.keys,
        )
        assert [nic.network for nic in stopped.nics] == [nic.network for nic in wanted.nics]
        assert stopped.power is PowerState.STOPPED
        assert all(disk.id and disk.size for disk in stopped.disks)

    async def test_what_is_deleted_is_said_before_and_after(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        said = stage.cloud.deletes(await stage.cloud.vm(stopped.id))
        assert await stage.cloud.delete_vm(act(run, "delete"), stopped.id) == said
        with pytest.raises(errors.NotFound):
            await stage.cloud.vm(stopped.id)

    async def test_deleting_what_is_gone_is_no_error(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await stage.cloud.delete_vm(act(run, "delete"), stopped.id)
        assert await stage.cloud.delete_vm(act(run, "delete"), stopped.id) == ()

    async def test_a_running_vm_is_not_deleted(self, stage: CloudStage, run: str, running: VM) -> None:
        with pytest.raises(errors.Conflict):
            await stage.cloud.delete_vm(act(run, "delete"), running.id)
        assert (await stage.cloud.vm(running.id)).power is PowerState.RUNNING

    async def test_an_old_epoch_deletes_nothing(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await stage.cloud.power_off(act(run, "off"), stopped.id)
        await refused_as_old(lambda old: stage.cloud.delete_vm(old, stopped.id), run)
        assert (await stage.cloud.vm(stopped.id)).id == stopped.id


class PowerConformance(StagedConformance):
    """`crossport.spi.cloud.Power`."""

    async def test_it_starts_and_loses_its_power_each_twice(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        for _ in range(2):
            await stage.cloud.start(act(run, "start"), stopped.id)
            assert (await stage.cloud.vm(stopped.id)).power is PowerState.RUNNING
        for _ in range(2):
            await stage.cloud.power_off(act(run, "off"), stopped.id)
            assert (await stage.cloud.vm(stopped.id)).power is PowerState.STOPPED

    async def test_one_that_is_off_has_shut_down(self, stage: CloudStage, run: str, stopped: VM) -> None:
        assert await stage.cloud.shut_down(act(run, "down"), stopped.id, 1.0)

    async def test_an_unknown_vm_does_not_start(self, stage: CloudStage, run: str) -> None:
        with pytest.raises(errors.NotFound):
            await stage.cloud.start(act(run, "start"), "no-such-vm")

    async def test_an_old_epoch_starts_and_stops_nothing(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        await stage.cloud.start(act(run, "start"), stopped.id)
        await refused_as_old(lambda old: stage.cloud.power_off(old, stopped.id), run)
        await refused_as_old(lambda old: stage.cloud.shut_down(old, stopped.id, 1.0), run)
        await stage.cloud.power_off(act(run, "off"), stopped.id)
        await refused_as_old(lambda old: stage.cloud.start(old, stopped.id), run)
        assert (await stage.cloud.vm(stopped.id)).power is PowerState.STOPPED


class FencerConformance(StagedConformance):
    """`crossport.spi.cloud.Fencer`."""

    async def test_what_is_fenced_does_not_start(self, stage: CloudStage, run: str, stopped: VM) -> None:
        fence = await stage.cloud.fence(act(run, "fence"), stopped.id)
        assert fence.done
        assert (await stage.cloud.vm(stopped.id)).fenced
        with pytest.raises(errors.Refused):
            await stage.cloud.start(act(run, "start"), stopped.id)
        assert (await stage.cloud.vm(stopped.id)).power is PowerState.STOPPED

    async def test_fencing_twice_says_the_same(self, stage: CloudStage, run: str, stopped: VM) -> None:
        first = await stage.cloud.fence(act(run, "fence"), stopped.id)
        assert await stage.cloud.fence(act(run, "fence"), stopped.id) == first

    async def test_a_running_vm_is_not_fenced(self, stage: CloudStage, run: str, running: VM) -> None:
        with pytest.raises(errors.Conflict):
            await stage.cloud.fence(act(run, "fence"), running.id)
        found = await stage.cloud.vm(running.id)
        assert (found.power, found.fenced) == (PowerState.RUNNING, False)

    async def test_unfenced_it_is_as_it_was_and_starts(
        self, stage: CloudStage, run: str, stopped: VM
    ) -> None:
        before = await stage.cloud.vm(stopped.id)
        await stage.cloud.fence(act(run, "fence"), stopped.id)
        for _ in range(2):
            await stage.cloud.unfence(act(run, "unfence"), stopped.id)
        assert await stage.cloud.vm(stopped.id) == before
        await stage.cloud.start(act(run, "start"), stopped.id)
        assert (await stage.cloud.vm(stopped.id)).power is PowerState.RUNNING

    async def test_fenced_it_does_not_start_by_itself_either(self, stage: CloudStage, run: str) -> None:
        wanted = dataclasses.replace(stage.described(f"vm-{run}"), autostart=True)
        vm = await stage.cloud.create_vm(act(run, "create"), wanted, stage.image, False)
        assert (await stage.cloud.vm(vm.id)).autostart
        await stage.cloud.fence(act(run, "fence"), vm.id)
        for described in (await stage.cloud.vm(vm.id), *await stage.cloud.vms()):
            assert not described.autostart
        await stage.cloud.unfence(act(run, "unfence"), vm.id)
        assert (await stage.cloud.vm(vm.id)).autostart

    async def test_an_old_epoch_does_not_unfence(self, stage: CloudStage, run: str, stopped: VM) -> None:
        await stage.cloud.fence(act(run, "fence"), stopped.id)
        await refused_as_old(lambda old: stage.cloud.unfence(old, stopped.id), run)
        assert (await stage.cloud.vm(stopped.id)).fenced


class ProberConformance(StagedConformance):
    """`crossport.spi.cloud.Prober`, and whether a guest that answers also shuts down when asked."""

    async def test_a_guest_that_is_off_is_a_bad_result(self, stage: CloudStage, stopped: VM) -> None:
        result = await stage.cloud.probe(stopped.id, stage.probe)
        assert not result.good
        assert result.text

    async def test_a_well_guest_answers_and_shuts_down_when_asked(
        self, stage: CloudStage, run: str, running: VM
    ) -> None:
        await answering(stage, running.id)
        assert await stage.cloud.shut_down(act(run, "down"), running.id, stage.shutdown_s)
        assert (await stage.cloud.vm(running.id)).power is PowerState.STOPPED


async def answering(stage: CloudStage, vm_id: str) -> None:
    """Return when the guest answers; a loop over probes, which take their time, with a bound."""
    for _ in range(200):
        if (await stage.cloud.probe(vm_id, stage.probe)).good:
            return
    raise AssertionError(f"{vm_id} never answered")


class IdentifiedConformance(StagedConformance):
    """`crossport.spi.cloud.Identified`."""

    async def test_it_is_the_same_whenever_it_is_asked(self, stage: CloudStage) -> None:
        first = await stage.cloud.installation()
        await stage.cloud.close()
        assert first
        assert await stage.cloud.installation() == first


class ConsoleConformance(StagedConformance):
    """`crossport.spi.cloud.Console`."""

    async def test_it_has_the_end_of_what_was_printed(self, stage: CloudStage, running: VM) -> None:
        await answering(stage, running.id)
        assert await stage.cloud.console_log(running.id)
        assert len(await stage.cloud.console_log(running.id, 5)) <= 5

    async def test_an_unknown_vm_has_no_console(self, stage: CloudStage) -> None:
        with pytest.raises(errors.NotFound):
            await stage.cloud.console_log("no-such-vm")


class GatewayHostConformance(StagedConformance):
    """`crossport.spi.cloud.GatewayHost`."""

    @pytest.mark.parametrize(("way", "subnet"), [(Way.READ, EXPORT_SUBNET), (Way.WRITE, IMPORT_SUBNET)])
    async def test_the_seat_is_in_the_reserved_subnet(self, stage: CloudStage, way: Way, subnet: str) -> None:
        place = await stage.cloud.place(way)
        assert (place.cloud, place.subnet) == (stage.cloud.name, subnet)
        assert place.address

    async def test_the_reserved_subnets_take_no_vm(self, stage: CloudStage) -> None:
        reserved = [network.name for network in (await stage.cloud.constructs()).networks if network.reserved]
        assert sorted(reserved) == sorted((EXPORT_SUBNET, IMPORT_SUBNET))


def with_names_of(vm: VM, name: str) -> VM:
    """Return ``vm`` as the description of another one in the same cloud."""
    nics = tuple(dataclasses.replace(nic, mac="", addresses=()) for nic in vm.nics)
    return dataclasses.replace(vm, id="", name=name, nics=nics, tags={})
