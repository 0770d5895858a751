"""Attacks on an audit log, each found and named: by the site's own heads, or by a partner's copy of them.

The log is a real one in a database. Who attacks it writes there what he likes, hashes too; the strongest has
the site's signer besides, and is found by what a partner has kept.
"""

import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.audit.rig import Rig, site

from crossport import errors
from crossport.audit.verify import Verdict, verified
from crossport.identity.signing.vault import Vault
from crossport.model.audit import AuditEntry
from crossport.model.head import SignedHead


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[Rig]:
    async with site(tmp_path / "north", "north") as rig:
        yield rig


def codes(verdict: Verdict) -> list[tuple[str, int | None]]:
    return [(flaw.code, flaw.record) for flaw in verdict.flaws]


async def heads(rig: Rig, *sizes: int) -> list[SignedHead]:
    """Let the log grow by so many actions each time, and sign each time."""
    kept: list[SignedHead] = []
    for count in sizes:
        await rig.act(count)
        kept.append(await rig.heads.sign())
    return kept


async def texts(rig: Rig) -> list[str]:
    return [one.text for one in await rig.log.records()]


async def test_a_log_that_nobody_touched_is_sound(north: Rig):
    kept = await heads(north, 3, 2)
    await north.act(1)
    verdict = await north.verdict(own=kept)
    assert (verdict.flaws, verdict.size, verdict.proven, verdict.open) == ((), 12, 10, 0)
    assert verdict.site == "north"


async def test_what_was_broken_off_is_counted(north: Rig):
    await north.log.intent(AuditEntry(action="vm.stop", actor="token 1"))
    assert (await north.verdict()).open == 1


async def test_a_record_changed_in_the_database_is_named(north: Rig):
    kept = await heads(north, 3, 2)
    north.sql("UPDATE audit_records SET record = replace(record, 'token 1', 'token 9') WHERE number = 3")
    assert codes(await north.verdict(own=kept))[0] == ("audit.record.changed", 3)


async def test_a_record_changed_with_its_hash_is_found_between_two_heads(north: Rig):
    kept = await heads(north, 3, 2, 2)
    every = await texts(north)
    await north.rewrite(
        [text.replace("token 1", "token 9") if at == 8 else text for at, text in enumerate(every)]
    )
    assert codes(await north.verdict(own=kept)) == [("audit.log.changed", 6)]


async def test_a_log_cut_at_its_end_is_found_by_its_last_head(north: Rig):
    kept = await heads(north, 3, 2)
    await north.rewrite((await texts(north))[:7])
    assert codes(await north.verdict(own=kept)) == [("audit.log.cut", 7)]
    with pytest.raises(errors.Refused) as raised:
        await north.heads.sign()
    assert raised.value.code == "audit.head.smaller"


async def test_a_log_cut_and_grown_again_is_another_one_to_the_signer(north: Rig):
    await heads(north, 3)
    await north.rewrite((await texts(north))[:2])
    await north.act(5)
    with pytest.raises(errors.Refused) as raised:
        await north.heads.sign()
    assert raised.value.code == "audit.head.forked"


async def test_a_log_rewritten_whole_is_found_by_the_copy_of_a_partner(north: Rig):
    """Who does it has the site's signer too, forgets its last head, and signs the new log."""
    partner = await heads(north, 3, 2)
    await north.rewrite([text.replace("token", "nobody") for text in await texts(north)])
    (north.folder / "signer/heads.json").unlink()
    north.sql("DELETE FROM documents WHERE kind LIKE 'audit-%'")
    own = [await north.heads.sign()]
    assert codes(await north.verdict(own=own)) == []
    verdict = await north.verdict(own=own, south=partner)
    assert ("audit.log.forked", 0) in codes(verdict)
    assert codes(await north.verdict(south=partner)) == [("audit.log.rewritten", 0)]


async def test_two_nodes_on_two_copies_of_the_database_fork_and_are_found(north: Rig, tmp_path: Path):
    first = await heads(north, 3)
    shutil.copytree(north.folder, tmp_path / "copy")
    await north.act(2)
    first.append(await north.heads.sign())
    async with site(tmp_path / "copy", "north", north.signer) as other:
        await other.act(4)
        with pytest.raises(errors.Refused) as raised:
            await other.heads.sign()
        assert raised.value.code == "audit.head.forked"
        assert codes(await other.verdict(own=first)) == [("audit.log.changed", 6)]


async def test_a_site_that_shows_each_partner_another_log_is_found_when_they_compare(
    north: Rig, tmp_path: Path
):
    shown = await heads(north, 3)
    shutil.copytree(north.folder, tmp_path / "copy")
    async with site(tmp_path / "copy", "north") as other:
        await other.act(1)
        to_east = [*shown, await other.heads.sign()]
    await north.act(2)
    to_west = [*shown, await north.heads.sign()]
    assert codes(await north.verdict(west=to_west)) == []
    assert codes(await north.verdict(west=to_west, east=to_east)) == [("audit.log.forked", 6)]


async def test_a_clock_set_back_is_named(north: Rig):
    await north.act(2)
    north.clock.moved_s = -3600.0
    await north.act(1)
    assert codes(await north.verdict()) == [("audit.clock.back", 4)]


async def test_the_signer_signs_nothing_from_before_its_last_head(north: Rig):
    await heads(north, 2)
    north.clock.moved_s = -3600.0
    with pytest.raises(errors.Refused) as raised:
        await north.heads.sign()
    assert raised.value.code == "audit.head.clock"


async def test_a_clock_set_forward_before_the_head_is_named(north: Rig):
    north.clock.moved_s = 7200.0
    await north.act(1)
    north.clock.moved_s = 0.0
    kept = [await north.heads.sign()]
    assert codes(await north.verdict(own=kept)) == [("audit.clock.ahead", 1)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signature": "AAAA"}, "audit.head.signature"),
        ({"key": "0" * 64}, "audit.head.key"),
        ({"payload": "AAAA"}, "audit.head.malformed"),
        ({"payload": "?"}, "audit.head.malformed"),
    ],
    ids=["another signature", "a stranger's key", "no head", "no base64"],
)
async def test_a_forged_head_counts_for_nothing(north: Rig, change: dict[str, str], code: str):
    (kept,) = await heads(north, 2)
    verdict = await north.verdict(own=[dataclasses.replace(kept, **change)])
    assert [flaw.code for flaw in verdict.flaws] == [code]
    assert verdict.proven == 0


@pytest.mark.parametrize("at", [0, 3, 5])
async def test_a_line_left_out_of_the_export_is_named(north: Rig, at: int):
    kept = await heads(north, 3)
    lines = await north.export()
    verdict = verified(lines[:at] + lines[at + 1 :], {"own": kept}, await north.keys())
    found = codes(verdict)
    assert ("audit.log.cut", 5) in found
    assert at == 5 or ("audit.record.gap", at) in found


async def test_garbage_is_named_by_its_line(north: Rig):
    kept = await heads(north, 2)
    lines = await north.export()
    lines[1] = b"x"
    found = codes(verified(lines, {"own": kept}, await north.keys()))
    assert ("audit.record.changed", 1) in found
    assert ("audit.record.malformed", 1) in found


class TestSigner:
    async def test_what_was_signed_and_not_kept_is_found_again(self, north: Rig):
        await heads(north, 2, 2)
        north.sql("DELETE FROM documents WHERE kind = 'audit-newest'")
        await north.act(1)
        await north.heads.sign()
        assert codes(await north.verdict(own=await north.heads.kept("north"))) == []

    async def test_it_keeps_the_last_head_outside_of_the_database(self, north: Rig):
        await heads(north, 2)
        assert Vault(north.folder / "signer").head("north") is not None
