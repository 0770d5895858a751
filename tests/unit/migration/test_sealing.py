"""What the seal of a run stands in the way of: each lie ends with the source as it was."""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.world import World, new_world

from crossport import errors
from crossport.migration.import_policy import POLICY
from crossport.migration.sealing import Origin, Sealing
from crossport.model.artifact import Artifact, Moved
from crossport.model.import_policy import ImportPolicy, Partner
from crossport.model.run import Act, RunState
from crossport.model.sealing import Admission, ClaimedDisk, SealedImage
from crossport.model.signed_claim import SignedClaim
from crossport.model.vm import VM, Firmware
from crossport.spi.site import Site
from crossport.testing.document import MemoryDocuments
from crossport.testing.sealer import MemorySealer
from crossport.testing.world import ALPHA

OTHER_ROOT = "ab" * 32
OTHER_RUN = "run-0"
Change = Callable[[SealedImage], SealedImage]
Told = tuple[Moved, ...]


class Between:
    """The site, with somebody between it and the run who answers some calls for it."""

    def __init__(self, site: Site, calls: dict[str, Callable[..., Awaitable[object]]]) -> None:
        self._site = site
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._site, name)


def between(world: World, **calls: Callable[..., Awaitable[object]]) -> None:
    site = cast("Site", Between(world.site, calls))

    async def found(cloud: str) -> Site:
        del cloud
        return site

    world.parts = replace(world.parts, site=found)


def word(by: MemorySealer, run: str, one: Moved, *, written: bool = False, root: str = "") -> SignedClaim:
    disk = ClaimedDisk(id=one.artifact, size=one.size, chunk_size=one.chunk_size, root=root or one.root)
    return by.claim(run, disk, written=written)


async def test_the_report_names_the_key_and_the_steps(world: World):
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    assert report.sealed is not None
    assert (report.sealed.site, report.sealed.key) == ("here", world.sealer.key.id())
    assert {step.step for step in report.sealed.steps} >= {*range(2, 12), 13, 15, 17}
    assert (report.sealed.importer, report.sealed.generation) == ("here", 0)
    assert report.sealed.admitted >= report.sealed.made > 0


async def test_the_policy_that_admitted_is_told(world: World):
    await world.documents.put(POLICY, "here", ImportPolicy(site="here", partners=(Partner(site="here"),)))
    report = await world.migrate()
    assert report.sealed is not None
    assert report.sealed.generation == 1


async def test_a_root_that_no_gateway_read_is_not_sealed(world: World):
    async def seal(act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        lie = tuple(replace(one, root=OTHER_ROOT) for one in moved)
        return await world.site.seal(act, cloud, vm, lie, importer)

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "signer.seal.disks")


async def test_what_no_gateway_vouches_for_is_not_sealed(world: World):
    async def seal(act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        bare = tuple(replace(one, claim=None) for one in moved)
        return await world.site.seal(act, cloud, vm, bare, importer)

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "image.unclaimed")


async def test_other_bytes_than_were_sealed_are_not_admitted(world: World):
    async def admit(act: Act, cloud: str, image: SealedImage, moved: Told) -> Admission:
        wrote = tuple(
            replace(one, arrival=word(world.sealer, act.run, one, written=True, root=OTHER_ROOT))
            for one in moved
        )
        return await world.site.admit(act, cloud, image, wrote)

    between(world, admit=admit)
    await expect_rolled_back(world, await world.migrate(), "seal.disk.content")


async def test_the_word_of_whoever_asks_is_not_that_of_the_gateway_that_wrote(world: World):
    async def admit(act: Act, cloud: str, image: SealedImage, moved: Told) -> Admission:
        return await world.site.admit(act, cloud, image, tuple(replace(one, arrival=None) for one in moved))

    between(world, admit=admit)
    await expect_rolled_back(world, await world.migrate(), "image.unwitnessed")


async def test_the_image_of_another_importer_is_not_admitted(world: World):
    async def seal(act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        del importer
        return await world.site.seal(act, cloud, vm, moved, "south")

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "seal.importer.other")


async def test_the_image_of_another_run_is_not_admitted(world: World):
    """Also one of the same VM and the same bytes that was never accepted."""

    async def seal(act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        other = tuple(replace(one, claim=word(world.sealer, OTHER_RUN, one)) for one in moved)
        return await world.site.seal(replace(act, run=OTHER_RUN), cloud, vm, other, importer)

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "image.run.other")


async def test_the_seal_of_a_site_that_is_no_partner_is_not_admitted(world: World):
    stranger = MemorySealer("elsewhere")
    theirs = Sealing("elsewhere", MemoryDocuments(), stranger, world.clock, lambda: "any")

    async def seal(act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        claimed = tuple(replace(one, claim=word(stranger, act.run, one)) for one in moved)
        return await theirs.seal(act, Origin(cloud, ALPHA), vm, claimed, importer, act.run)

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "seal.key.unknown")


def altered(text: str) -> str:
    return base64.b64encode(base64.b64decode(text) + b"\n").decode()


def resigned(envelope: str) -> str:
    """Return the envelope with another signature over the same statement."""
    text = base64.b64decode(envelope).decode()
    at = text.index('"sig":"') + len('"sig":"')
    other = "A" if text[at] != "A" else "B"
    return base64.b64encode((text[:at] + other + text[at + 1 :]).encode()).decode()


CHANGES: dict[str, Change] = {
    "seal.part.altered": lambda image: replace(image, descriptor=altered(image.descriptor)),
    "seal.envelope.invalid": lambda image: replace(image, envelope="no base64"),
    "seal.signature.wrong": lambda image: replace(image, envelope=resigned(image.envelope)),
}


@pytest.mark.parametrize("code", CHANGES)
async def test_an_image_that_was_altered_on_its_way_is_not_admitted(world: World, code: str):
    async def seal(*args: Any) -> SealedImage:
        return CHANGES[code](await world.site.seal(*args))

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), code)


PARTS = {
    "a tag": (b'value="ann"', b'value="bob"'),
    "an address": (b'value="10.10.0.5/24"', b'value="10.10.0.6/24"'),
    "what a card is in": (b'MemberOf name="web"', b'MemberOf name="all"'),
    "a rule": (b'firstPort="', b'firstPort="1'),
    "a key": (b'fingerprint="', b'fingerprint="x'),
    "the instance id": (b'instanceId="i-1"', b'instanceId="i-2"'),
    "the TPM": (b'tpm="false"', b'tpm="true"'),
    "the section itself": (b"CloudSection", b"OtherSection"),
}


@pytest.mark.parametrize(("old", "new"), PARTS.values(), ids=PARTS)
async def test_no_word_about_the_vm_can_be_changed_on_its_way(tmp_path: Path, old: bytes, new: bytes):
    world = await new_world(tmp_path, owner="ann")

    async def seal(*args: Any) -> SealedImage:
        image = await world.site.seal(*args)
        text = base64.b64decode(image.descriptor)
        assert old in text
        return replace(image, descriptor=base64.b64encode(text.replace(old, new)).decode())

    between(world, seal=seal)
    await expect_rolled_back(world, await world.migrate(), "seal.part.altered")


async def test_nothing_is_verified_or_started_before_it_is_admitted(world: World):
    async def admit(act: Act, cloud: str, image: SealedImage, moved: Told) -> Admission:
        del act, cloud, image, moved
        return Admission(site="here", key="any", made=0.0, steps=())

    between(world, admit=admit)
    await expect_rolled_back(world, await world.migrate(), "image.unsealed")


async def test_an_image_that_was_admitted_is_not_good_for_what_is_written_later(world: World):
    async def verify(act: Act, cloud: str, moved: Told, *, at_rest: bool = True) -> tuple[Artifact, ...]:
        later = tuple(replace(one, root=OTHER_ROOT) for one in moved)
        return await world.site.verify(act, cloud, later, at_rest=at_rest)

    between(world, verify=verify)
    await expect_rolled_back(world, await world.migrate(), "image.unsealed")


@pytest.mark.parametrize(
    "change",
    [
        {"firmware": Firmware.UEFI},
        {"cpus": 64},
        {"memory": 1 << 40},
        {"disks": ()},
        {"nics": ()},
        {"tags": {"owner": "bob"}},
        {"instance_id": "i-2"},
        {"tpm": True},
    ],
)
async def test_what_is_started_is_what_was_sealed(world: World, change: dict[str, Any]):
    async def instantiate(act: Act, cloud: str, new: Any, *, stopped: Any) -> VM:
        other = replace(new, vm=replace(new.vm, **change))
        return await world.site.instantiate(act, cloud, other, stopped=stopped)

    between(world, instantiate=instantiate)
    await expect_rolled_back(world, await world.migrate(), "seal.descriptor.disagrees")


async def test_a_step_that_is_repeated_does_not_trip_over_the_nonce_it_spent(world: World):
    """Nor where it fails in the middle: after the image was noted, before its nonce was."""
    asked: list[Admission | str] = []
    put = world.documents.put

    async def failing(kind: str, *args: Any, **kwargs: Any) -> Any:
        if kind == "image-seen" and not asked:
            raise errors.Unavailable("test.database.gone", "It is away.", remedy="Wait.")
        return await put(kind, *args, **kwargs)

    world.documents.put = cast("Any", failing)

    async def admit(*args: Any) -> Admission:
        try:
            asked.append(await world.site.admit(*args))
        except errors.Unavailable as error:
            asked.append(error.code)
            asked.append(await world.site.admit(*args))
        asked.append(await world.site.admit(*args))
        return cast("Admission", asked[-1])

    between(world, admit=admit)
    assert (await world.migrate()).outcome is RunState.DONE
    assert asked[0] == "test.database.gone"
    assert asked[1] == asked[2]


async def test_the_same_image_is_sealed_once(world: World):
    asked: list[SealedImage] = []

    async def seal(*args: Any) -> SealedImage:
        asked.extend([await world.site.seal(*args), await world.site.seal(*args)])
        return asked[-1]

    between(world, seal=seal)
    assert (await world.migrate()).outcome is RunState.DONE
    assert asked[0] == asked[1]


async def test_after_a_rollback_another_run_of_the_same_vm_is_sealed_anew(world: World):
    async def instantiate(*args: Any, **kwargs: Any) -> object:
        del args, kwargs
        raise errors.RolledBack("test.guest.ill", "It is ill.", remedy="Heal it.")

    between(world, instantiate=instantiate)
    await expect_rolled_back(world, await world.migrate(), "test.guest.ill")
    between(world)
    world.context = type(world.context)("run-2", clock=world.clock)
    assert (await world.migrate()).outcome is RunState.DONE
    assert (await world.source_vm()).fenced
