"""A guest that is converted before it starts: what starts was not sealed, but attested."""

import base64
import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.test_sealing import between
from tests.unit.migration.world import World, disk_bytes

from crossport import errors, merkle
from crossport.certify.envelope import opened
from crossport.certify.statement import conversion_in
from crossport.migration.at_rest import AtRest
from crossport.migration.converting import Arrived, Converting
from crossport.migration.end import Ends, LandedConversion
from crossport.model.artifact import Artifact, Moved, Place
from crossport.model.audit import AuditKind, Result
from crossport.model.certified import Check, Outcome
from crossport.model.conversion import Converted, ConvertedDisk, Tool
from crossport.model.locator import file_of
from crossport.model.permit import Statement
from crossport.model.run import Act, RunState
from crossport.model.sealing import SealSignature
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM
from crossport.testing.audit import MemoryAudit
from crossport.testing.mover import CHUNK
from crossport.testing.run import Killed, KillPoint
from crossport.testing.sealer import MemorySealer

DRIVER = b"driver"


class Rewriter:
    """A converter that really writes to the disks, and counts how often it does."""

    def __init__(self, sealer: MemorySealer, world: World) -> None:
        self.world = world
        self.sealer = sealer
        self.written = 0
        self.tells: Callable[[Converted], Converted] = lambda told: told
        self.dies = False

    async def convert(self, run: str, disks: tuple[Artifact, ...]) -> Converted:
        began, made = self.world.clock.wall(), list[ConvertedDisk]()
        for disk in disks:
            path = Path(file_of(disk.ref.locator)[0])
            content = path.read_bytes()
            path.write_bytes(content[: -len(DRIVER)] + DRIVER)
            made.append(rooted(disk.name, path.read_bytes()))
        self.written += 1
        if self.dies:
            raise errors.Unavailable("test.tool.gone", "It died.", remedy="Ask again.")
        claims = tuple(self.sealer.converted(run, disk.claimed()) for disk in made)
        return self.tells(
            Converted(
                tool=Tool(name="rewriter", version="1", image="aa" * 32),
                disks=tuple(made),
                claims=claims,
                started=began,
                finished=self.world.clock.wall(),
                boot=Check(name="boot.test", outcome=Outcome.PASSED),
            )
        )


def rooted(name: str, content: bytes) -> ConvertedDisk:
    tree = merkle.Tree(CHUNK)
    for at in range(0, len(content), CHUNK):
        tree.add(merkle.leaf(content[at : at + CHUNK]))
    return ConvertedDisk(id=name, size=len(content), chunk_size=CHUNK, root=tree.root().hex())


@dataclasses.dataclass
class Scene:
    """A world whose copies are converted behind their verification."""

    world: World
    tool: Rewriter
    converting: Converting
    attested: list[LandedConversion]
    audit: MemoryAudit

    async def convert(
        self, act: Act, cloud: str, disks: tuple[Artifact, ...], moved: Any
    ) -> LandedConversion:
        at_rest = AtRest(self.world.mover, Place(tenant="default", cloud=cloud, subnet="", address=""))
        found = await self.converting.convert(act, Arrived(cloud, disks, moved, at_rest), self.tool)
        self.attested.append(found)
        return found

    def behind_verify(self, step: Callable[..., Any]) -> None:
        async def verify(act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True) -> Any:
            disks = await self.world.site.verify(act, cloud, moved, at_rest=at_rest)
            await step(act, cloud, disks, moved)
            return disks

        between(self.world, verify=verify)


@pytest.fixture
def scene(world: World) -> Scene:
    token: Callable[[], str] = lambda: secrets.token_hex(16)  # noqa: E731
    audit = MemoryAudit()
    converting = Converting("here", world.documents, world.sealer, world.clock, token, audit, "default")
    return Scene(world, Rewriter(world.sealer, world), converting, [], audit)


async def test_what_was_converted_and_attested_starts(scene: Scene):
    scene.behind_verify(scene.convert)
    report = await scene.world.migrate()
    assert report.outcome is RunState.DONE
    (vm,) = await scene.world.target_vms()
    assert disk_bytes(scene.world.beta, vm).endswith(DRIVER)
    (found,) = scene.attested
    conversion = conversion_in(opened(base64.b64decode(found.attestation), "conversion").payload)
    assert (conversion.site, conversion.cloud) == ("here", "beta")
    assert conversion.input != conversion.output
    landing = await Ends(scene.world.documents).landing(conversion.run)
    assert landing.conversion == found
    intent, outcome = scene.audit.records
    assert (intent.kind, intent.action, intent.run) == (AuditKind.INTENT, "conversion.attest", conversion.run)
    assert (intent.subject, intent.facts["nonce"]) == ("here/beta", conversion.nonce)
    assert (outcome.kind, outcome.intent, outcome.result) == (AuditKind.OUTCOME, intent.number, Result.DONE)
    assert outcome.facts["key"] == opened(base64.b64decode(found.attestation), "conversion").key_id


async def test_what_the_audit_log_does_not_take_is_not_attested(scene: Scene):
    async def unwritten(*args: Any) -> None:
        scene.audit.full = True
        with pytest.raises(errors.Unavailable, match="audit log"):
            await scene.convert(*args)

    scene.behind_verify(unwritten)
    await expect_rolled_back(scene.world, await scene.world.migrate(), "conversion.unattested")
    assert scene.attested == []


async def test_what_is_being_converted_does_not_start_unattested(scene: Scene):
    scene.tool.dies = True

    async def half(*args: Any) -> None:
        with pytest.raises(errors.Unavailable):
            await scene.convert(*args)

    scene.behind_verify(half)
    await expect_rolled_back(scene.world, await scene.world.migrate(), "conversion.unattested")


async def test_what_was_converted_does_not_start_while_nobody_signs(scene: Scene):
    async def unsigned(*args: Any) -> None:
        scene.world.sealer.away = True
        with pytest.raises(errors.Unavailable):
            await scene.convert(*args)
        scene.world.sealer.away = False

    scene.behind_verify(unsigned)
    await expect_rolled_back(scene.world, await scene.world.migrate(), "conversion.unattested")


async def test_killed_before_the_attestation_it_goes_on_without_converting_twice(scene: Scene):
    async def interrupted(*args: Any) -> None:
        scene.world.sealer.away = True
        with pytest.raises(errors.Unavailable):
            await scene.convert(*args)
        scene.world.sealer.away = False
        first, again = await scene.convert(*args), await scene.convert(*args)
        assert first == again

    scene.behind_verify(interrupted)
    assert (await scene.world.migrate()).outcome is RunState.DONE
    assert scene.tool.written == 1


def lied(told: Converted) -> Converted:
    return dataclasses.replace(
        told, disks=tuple(dataclasses.replace(disk, root="ab" * 32) for disk in told.disks)
    )


def unclaimed(told: Converted) -> Converted:
    return dataclasses.replace(
        told,
        claims=tuple(MemorySealer("elsewhere").converted("run-1", disk.claimed()) for disk in told.disks),
    )


LIES: dict[str, Callable[[Converted], Converted]] = {
    "conversion.disk.content": lied,
    "conversion.disk.missing": lambda told: dataclasses.replace(
        told, disks=(dataclasses.replace(told.disks[0], id="disk-9"),)
    ),
    "signer.claim.forged": unclaimed,
    "conversion.time.future": lambda told: dataclasses.replace(told, finished=told.finished + 9000),
}


@pytest.mark.parametrize("code", LIES)
async def test_a_tool_that_lies_is_not_attested_and_nothing_starts(scene: Scene, code: str):
    scene.tool.tells = LIES[code]
    scene.behind_verify(scene.convert)
    await expect_rolled_back(scene.world, await scene.world.migrate(), code)


async def test_what_was_not_verified_is_not_converted(scene: Scene):
    async def verify(act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True) -> Any:
        del at_rest
        await scene.convert(act, cloud, (), moved)

    between(scene.world, verify=verify)
    await expect_rolled_back(scene.world, await scene.world.migrate(), "image.unverified")
    assert scene.tool.written == 0


def before_the_start(scene: Scene) -> None:
    """Convert where a run does: in a step of its own, behind the verification and before the start."""
    arrived = list[tuple[Moved, ...]]()

    async def verify(act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True) -> Any:
        arrived.append(moved)
        return await scene.world.site.verify(act, cloud, moved, at_rest=at_rest)

    async def instantiate(act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        await scene.convert(act, cloud, new.artifacts, arrived[0])
        return await scene.world.site.instantiate(act, cloud, new, stopped=stopped)

    between(scene.world, verify=verify, instantiate=instantiate)


@pytest.mark.parametrize("unsigned", [True, False], ids=["before it is signed", "after the start"])
async def test_a_process_that_dies_is_followed_by_one_that_does_not_convert_again(
    scene: Scene, unsigned: bool, monkeypatch: pytest.MonkeyPatch
):
    before_the_start(scene)
    world, first = scene.world, scene.world.context

    async def dying(*args: Any) -> SealSignature:
        del args
        raise Killed

    with monkeypatch.context() as patched:
        if unsigned:
            patched.setattr(world.sealer, "attest", dying)
        else:
            first.kill("instantiate", KillPoint.AFTER_CALL)
        with pytest.raises(Killed):
            await world.migrate()
    assert len(await world.running()) <= 1
    report = await world.migrate(first.successor())
    assert report.outcome is RunState.DONE
    assert scene.tool.written == 1
    (vm,) = await world.target_vms()
    assert disk_bytes(world.beta, vm).endswith(DRIVER)
