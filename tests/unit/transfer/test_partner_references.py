"""What a partner is told of disks, and what it can come back with: the very artifacts that it was shown."""

from dataclasses import replace

import pytest

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import Artifact, DiskRef, Role
from crossport.testing.document import MemoryDocuments
from crossport.transfer.partner.reference import References

REF = DiskRef(kind="nbd", locator="unix:/srv/a.sock?export=x", size=4096, identity="volume-1", secret_ref="s")
DISK = Artifact(role=Role.DISK, name="disk-0", ref=REF)
OTHER = Artifact(role=Role.NVRAM, name="nvram", ref=replace(REF, locator="unix:/srv/b.sock", identity=""))


@pytest.fixture
def references() -> References:
    documents = MemoryDocuments()
    return References(lambda: documents)


async def test_a_partner_sees_no_place_and_comes_back_with_what_it_saw(references: References):
    shown = await references.shown("north", "run-1", (DISK, OTHER))
    for word in ("/srv", "volume-1"):
        assert word not in "".join(codec.encoded(one.ref) for one in shown)
    assert [(one.name, one.ref.size, bool(one.ref.identity)) for one in shown] == [
        ("disk-0", 4096, True),
        ("nvram", 4096, False),
    ]
    assert await references.shown("north", "run-1", (DISK, OTHER)) == shown
    assert await references.known("north", "run-1", shown) == (DISK, OTHER)


async def test_another_artifact_than_it_saw_is_refused(references: References):
    [shown] = await references.shown("north", "run-1", (DISK,))
    [foreign] = await references.shown("west", "run-1", (DISK,))
    [earlier] = await references.shown("north", "run-0", (DISK,))
    for lie in (
        DISK,
        foreign,
        earlier,
        replace(shown, name="disk-1"),
        replace(shown, role=Role.NVRAM),
        replace(shown, ref=replace(shown.ref, kind="file")),
        replace(shown, ref=replace(shown.ref, locator="../x")),
    ):
        with pytest.raises(errors.Refused) as caught:
            await references.known("north", "run-1", (lie,))
        assert caught.value.code == "transfer.reference.foreign"


async def test_its_size_and_identity_are_as_they_were_whatever_it_says(references: References):
    [shown] = await references.shown("north", "run-1", (DISK,))
    larger = replace(shown, ref=replace(shown.ref, size=1 << 50, identity="another"))
    assert await references.known("north", "run-1", (larger,)) == (DISK,)


async def test_nobody_comes_back_to_a_run_that_is_forgotten(references: References):
    shown = await references.shown("north", "run-1", (DISK,))
    kept = await references.shown("north", "run-2", (DISK,))
    await references.forget("run-1")
    with pytest.raises(errors.Refused):
        await references.known("north", "run-1", shown)
    assert await references.known("north", "run-2", kept) == (DISK,)
