"""The signer, as the process that it is: what it may see, what it answers, and that a kill loses nothing."""

import asyncio
import base64
import dataclasses
import json
import os
import socket
import stat
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.audit.head import believed as judged
from crossport.hypervisor import confine, unix_socket
from crossport.identity import SiteIdentity
from crossport.identity import role_document as roles
from crossport.identity.signing.desk import MAX_KEYS, Authority, Desk
from crossport.identity.signing.heads import KeptHeads
from crossport.identity.signing.keeper import SIGNER, Keeper
from crossport.identity.signing.question import AskKeys, AskRevoke, AskRotate, Question
from crossport.identity.signing.statements import KeptStatements
from crossport.identity.signing.vault import Done, Vault
from crossport.identity.site_keys import KeptKeys
from crossport.identity.statement import Between, believed
from crossport.model import codec
from crossport.model.head import Head
from crossport.model.keyring import Keyring, KeyRole
from crossport.model.permit import Stated, Statement, StatementKind
from crossport.model.role import RevokeRequest, RoleDocument, RotateRequest
from crossport.testing.document import MemoryDocuments


class Clock(SystemClock):
    """The machine's time, moved."""

    moved_s = 0.0

    def wall(self) -> float:
        return time.time() + self.moved_s


def authority(folder: Path) -> Authority:
    identity = SiteIdentity.open(folder / "identity", "north", clock=SystemClock())
    return Authority(site="north", key=identity.authority_key, approvals="5e" * 32)


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncGenerator[Keeper]:
    made = Keeper(tmp_path / "signer", lambda: authority(tmp_path))
    try:
        yield made
    finally:
        await made.close()


def documents(envelope: bytes, now: float | None = None) -> RoleDocument:
    root = roles.root_of(envelope)
    return roles.believed(envelope, "north", root, time.time() if now is None else now, None)


def one(document: RoleDocument, role: KeyRole) -> str:
    (key,) = (key for key in document.keys if key.role is role)
    return key.id()


async def test_the_first_question_makes_one_key_for_each_role_and_lists_the_authority(
    keeper: Keeper, tmp_path: Path
):
    document = documents(await keeper.ask(AskKeys()))
    assert sorted(key.role for key in document.keys) == sorted(KeyRole)
    assert one(document, KeyRole.CA) == authority(tmp_path).key.id()
    assert len({key.id() for key in document.keys}) == len(KeyRole)


async def test_it_signs_what_the_site_itself_states_to_a_partner(keeper: Keeper, tmp_path: Path):
    said = Statement(
        kind=StatementKind.START_PERMITTED, site="north", run="r1", vm="vm-1", epoch=1, made=time.time()
    )
    stated = Stated(to="south", initiator="south", statement=said)
    kept = MemoryDocuments()
    keys = KeptKeys(keeper, lambda: kept, SystemClock(), site="north", node="one")
    signed = await KeptStatements(keys).sign(stated)
    document = documents(await keeper.ask(AskKeys()))
    assert signed.key == one(document, KeyRole.PERMIT)
    between = Between("north", "south", "south", "r1")
    assert believed(signed, document, between, time.time()) == said
    for other in (dataclasses.replace(said, site="south"), dataclasses.replace(said, run="")):
        with pytest.raises(errors.Refused) as caught:
            await KeptStatements(keys).sign(dataclasses.replace(stated, statement=other))
        assert caught.value.code == "signer.statement.other"
    log = (tmp_path / "signer" / "log").read_text()
    assert log.count("start-permitted of run r1 of south to south") == 1


async def test_its_files_are_its_own_and_its_socket_the_sites(keeper: Keeper, tmp_path: Path):
    await keeper.ask(AskKeys())
    owner = SIGNER if os.geteuid() == 0 else os.geteuid()
    for path in ((tmp_path / "signer"), *(tmp_path / "signer").iterdir()):
        facts = path.stat()
        assert facts.st_uid == owner
        assert not stat.S_IMODE(facts.st_mode) & 0o077
    facts = (tmp_path / "signer.socket").stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (os.geteuid(), 0o600)


async def test_it_has_no_network_no_rights_and_sees_no_other_file(keeper: Keeper, tmp_path: Path):
    (tmp_path / "other").write_text("something else of the site's")
    await keeper.ask(AskKeys())
    assert keeper.pid
    (inner,) = [pid for pid in descendants(keeper.pid) if b"crossport.app.signer" in command_line(pid)][-1:]
    status = Path(f"/proc/{inner}/status").read_text()
    owner = SIGNER if os.geteuid() == 0 else os.geteuid()
    assert f"Uid:\t{owner}\t{owner}\t{owner}\t{owner}" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert Path(f"/proc/{inner}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    seen = Path(f"/proc/{inner}/root{tmp_path}")
    assert [path.name for path in seen.iterdir()] == ["signer"]


async def test_killed_it_is_started_anew_with_the_same_keys(keeper: Keeper):
    before = await keeper.ask(AskKeys())
    kill(keeper)
    with pytest.raises(errors.Unavailable) as caught:
        await keeper.ask(AskKeys())
    assert caught.value.code == "signer.process.gone"
    assert await keeper.ask(AskKeys()) == before


async def test_killed_at_any_moment_of_a_rotation_it_lists_the_key_or_does_not(keeper: Keeper):
    document = documents(await keeper.ask(AskKeys()))
    for delay_s in (0.0, 0.003):
        request = RotateRequest(role=KeyRole.SEAL, at_once=True)
        asked = asyncio.create_task(keeper.ask(AskRotate(request=request, version=document.version)))
        await asyncio.sleep(delay_s)
        kill(keeper)
        await asyncio.gather(asked, return_exceptions=True)
        after = documents(await settled(keeper))
        assert after.version in (document.version, document.version + 1)
        assert len(after.keys) == len(document.keys) + after.version - document.version
        document = after


async def settled(keeper: Keeper) -> bytes:
    """Ask until there is an answer."""
    while True:
        try:
            return await keeper.ask(AskKeys())
        except errors.Unavailable:
            continue


async def test_who_connects_and_says_nothing_or_nonsense_ends_nothing(keeper: Keeper, tmp_path: Path):
    before = await keeper.ask(AskKeys())
    for nonsense in (b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2{}", b"\0\0\0\3\xff\xff\xff"):
        with unix_socket.connected(tmp_path / "signer.socket", timeout_s=20) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
            assert not answer or b'"kind":"Invalid"' in answer
    assert await keeper.ask(AskKeys()) == before


async def test_what_was_decided_about_an_older_document_is_refused(keeper: Keeper):
    document = documents(await keeper.ask(AskKeys()))
    ask = AskRotate(request=RotateRequest(role=KeyRole.SEAL), version=document.version)
    await keeper.ask(ask)
    with pytest.raises(errors.Conflict) as caught:
        await keeper.ask(ask)
    assert caught.value.code == "key.document.changed"


def kill(keeper: Keeper) -> None:
    """Kill the signer itself; while it is being started, what starts it."""
    assert keeper.pid
    last = descendants(keeper.pid)[-1]
    if Path(f"/proc/{last}/exe").readlink().name.startswith("python"):
        os.kill(last, 9)
    else:
        confine.kill(keeper.pid)


def descendants(pid: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(below for child in children for below in descendants(child))]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class Rig:
    """The signer's judgement in this process, with a clock that can be moved."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder / "signer"
        self.desk = Desk(Vault(self.folder), authority(folder), self.clock)

    def ask(self, ask: AskKeys | AskRotate | AskRevoke) -> RoleDocument:
        answer = self.desk.answer(codec.encoded(Question(ask=ask)).encode())
        if answer.failure:
            raise answer.failure.error()
        return documents(base64.b64decode(answer.value), self.clock.wall())

    def refused(self, ask: AskKeys | AskRotate | AskRevoke) -> str:
        with pytest.raises(errors.Error) as caught:
            self.ask(ask)
        assert caught.value.remedy
        return caught.value.code


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_new_key_signs_a_day_later(rig: Rig):
    old = one(rig.ask(AskKeys()), KeyRole.TICKET)
    document = rig.ask(AskRotate(request=RotateRequest(role=KeyRole.TICKET), version=1))
    now = rig.clock.wall()
    assert [key.role for key in document.keys].count(KeyRole.TICKET) == 2
    current = roles.signing_key(document, KeyRole.TICKET, now)
    later = roles.signing_key(document, KeyRole.TICKET, now + roles.LEAD_S)
    assert current
    assert later
    assert current.id() == old != later.id()
    again = AskRotate(request=RotateRequest(role=KeyRole.TICKET), version=2)
    assert rig.refused(again) == "key.rotation.pending"


def test_an_authority_that_is_revoked_is_listed_as_revoked(rig: Rig, tmp_path: Path):
    first = rig.ask(AskKeys())
    known = authority(tmp_path)
    gone = dataclasses.replace(known, key=dataclasses.replace(known.key, revoked=rig.clock.wall()))
    rig.desk = Desk(Vault(rig.folder), gone, rig.clock)
    listed = rig.ask(AskKeys())
    (ca,) = (key for key in listed.keys if key.role is KeyRole.CA)
    assert (ca.revoked, listed.version) == (gone.key.revoked, first.version + 1)
    assert rig.ask(AskKeys()) == listed


def test_an_authority_whose_end_was_told_leaves_the_document_then(rig: Rig, tmp_path: Path):
    rig.ask(AskKeys())
    known, end = authority(tmp_path), rig.clock.wall() + 100.0
    later = dataclasses.replace(authority(tmp_path / "next").key, valid_until=end)
    ending = dataclasses.replace(known, others=(later,))
    rig.desk = Desk(Vault(rig.folder), ending, rig.clock)
    assert later in rig.ask(AskKeys()).keys
    rig.clock.moved_s += 101.0
    listed = rig.ask(AskKeys())
    assert [key.id() for key in listed.keys if key.role is KeyRole.CA] == [known.key.id()]
    assert rig.ask(AskKeys()) == listed


ROOT = RotateRequest(role="root")


def test_a_new_root_follows_and_whoever_pinned_the_first_goes_on(rig: Rig):
    first = rig.ask(AskKeys())
    pinned = base64.b64decode(first.root)
    for version in (1, 2):
        document = rig.ask(AskRotate(request=ROOT, version=version))
    assert document.version == 3
    assert (len(document.roots), document.keys) == (2, first.keys)
    assert document.root != first.root
    envelope = Vault(rig.folder).document() or b""
    assert roles.believed(envelope, "north", pinned, rig.clock.wall(), None) == document
    assert {path.name for path in rig.folder.glob("*root*")} == {"root.key"}
    assert rig.ask(AskKeys()) == document


def test_a_signer_that_dies_with_the_first_document_of_a_new_root_goes_on(rig: Rig, tmp_path: Path):
    rig.ask(AskKeys())
    old = (rig.folder / "root.key").read_bytes()
    document = rig.ask(AskRotate(request=ROOT, version=1))
    new = rig.folder / "root.key"
    new.replace(rig.folder / "next-root.key")  # as if it had died just before it let the key follow
    new.write_bytes(old)
    new.chmod(0o600)
    again = Rig(tmp_path)
    assert again.ask(AskKeys()) == document
    assert again.ask(AskRotate(request=ROOT, version=2)).version == 3


def test_the_authority_is_not_rotated_or_revoked_here(rig: Rig):
    authority_id = one(rig.ask(AskKeys()), KeyRole.CA)
    rotate = {"do": "rotate", "version": 1, "request": {"role": "ca"}}
    answer = rig.desk.answer(json.dumps({"version": 1, "ask": rotate}).encode())
    assert answer.failure
    assert answer.failure.code == "input.field.invalid"
    assert rig.refused(AskRevoke(request=RevokeRequest(key=authority_id), version=1)) == "key.role.fixed"
    assert rig.ask(AskKeys()).version == 1


def test_where_the_key_that_signs_is_revoked_another_takes_its_place(rig: Rig):
    old = one(rig.ask(AskKeys()), KeyRole.SEAL)
    document = rig.ask(AskRevoke(request=RevokeRequest(key=old), version=1))
    new = roles.signing_key(document, KeyRole.SEAL, rig.clock.wall())
    assert new
    assert new.id() != old
    assert rig.refused(AskRevoke(request=RevokeRequest(key=old), version=document.version)) == "key.revoked"
    unknown = AskRevoke(request=RevokeRequest(key="00" * 32), version=document.version)
    assert rig.refused(unknown) == "key.unknown"


def test_a_document_is_signed_anew_before_it_expires_and_keys_before_they_end(rig: Rig):
    first = rig.ask(AskKeys())
    rig.clock.moved_s = roles.DOCUMENT_LIFETIME_S * 0.6
    second = rig.ask(AskKeys())
    assert (second.version, second.keys) == (2, first.keys)
    rig.clock.moved_s = roles.KEY_LIFETIME_S + 60
    third = rig.ask(AskKeys())
    for role in (KeyRole.SEAL, KeyRole.AUDIT, KeyRole.TICKET, KeyRole.PERMIT):
        current = roles.signing_key(third, role, rig.clock.wall())
        assert current
        assert current not in first.keys


def test_every_document_that_it_signs_is_in_its_log(rig: Rig):
    rig.ask(AskKeys())
    document = rig.ask(AskRotate(request=RotateRequest(role=KeyRole.SEAL), version=1))
    lines = [codec.decoded(line, Done) for line in (rig.folder / "log").read_bytes().splitlines()]
    assert [line.what for line in lines] == ["role document 1", "role document 2"]
    assert lines[-1].of == roles.digest((rig.folder / "roles.json").read_bytes())
    assert base64.b64decode(document.root)


def test_without_its_root_it_signs_nothing_and_makes_no_other(rig: Rig):
    rig.ask(AskKeys())
    (rig.folder / "root.key").unlink()
    assert rig.refused(AskKeys()) == "signer.root.lost"
    assert not (rig.folder / "root.key").exists()


def test_files_that_others_may_read_are_refused(rig: Rig):
    rig.ask(AskKeys())
    (rig.folder / "root.key").chmod(0o640)
    assert rig.refused(AskKeys()) == "identity.file.open"
    (rig.folder / "root.key").chmod(0o600)
    rig.folder.chmod(0o750)
    assert rig.refused(AskKeys()) == "identity.directory.open"


async def test_a_signer_that_was_put_back_is_found(keeper: Keeper, tmp_path: Path):
    kept = MemoryDocuments()
    keys = KeptKeys(keeper, lambda: kept, SystemClock(), site="north", node="one")
    first = await keys.keys()
    (tmp_path / "earlier").write_bytes((tmp_path / "signer" / "roles.json").read_bytes())
    second = await keys.rotate(RotateRequest(role=KeyRole.SEAL))
    assert (first.document.version, second.document.version) == (1, 2)
    (tmp_path / "signer" / "roles.json").write_bytes((tmp_path / "earlier").read_bytes())
    with pytest.raises(errors.Refused) as caught:
        await keys.keys()
    assert caught.value.code == "roles.document.rolled_back"


async def test_another_node_leaves_the_keys_to_the_first(keeper: Keeper, tmp_path: Path):
    kept = MemoryDocuments()
    await KeptKeys(keeper, lambda: kept, SystemClock(), site="north", node="one").keys()
    never = Keeper(tmp_path / "second", lambda: authority(tmp_path))
    with pytest.raises(errors.Conflict) as caught:
        await KeptKeys(never, lambda: kept, SystemClock(), site="north", node="two").keys()
    assert (caught.value.code, never.pid) == ("key.signer.elsewhere", None)
    assert "one" in caught.value.text


async def test_another_node_signs_nothing(keeper: Keeper, tmp_path: Path):
    kept = MemoryDocuments()
    one = KeptKeys(keeper, lambda: kept, SystemClock(), site="north", node="one")
    head = Head(site="north", size=0, root="00" * 32, time=time.time())
    signed = await KeptHeads(one).sign(head, 0, unproven)
    listed = Keyring(keys=(await one.keys()).document.keys)
    # The first question already let the site have just these keys.
    assert judged(signed, listed).root == head.root
    never = Keeper(tmp_path / "second", lambda: authority(tmp_path))
    two = KeptKeys(never, lambda: kept, SystemClock(), site="north", node="two")
    said = Statement(kind=StatementKind.RELEASED, site="north", run="run-1", vm="vm", epoch=1, made=1.0)
    for doing in (
        KeptHeads(two).sign(head, 0, unproven),
        KeptStatements(two).ready(),
        KeptStatements(two).sign(Stated(to="south", initiator="south", statement=said)),
    ):
        with pytest.raises(errors.Conflict) as caught:
            await doing
        assert (caught.value.code, never.pid) == ("key.signer.elsewhere", None)


async def unproven(first: int) -> None:
    """Prove nothing of a log, as for one that nobody knows yet."""


def test_keys_can_be_revoked_however_many_there_were(tmp_path: Path):
    vault = Vault(tmp_path / "signer")
    desk = Desk(vault, authority(tmp_path), SystemClock())

    def asked(ask: AskKeys | AskRevoke) -> RoleDocument:
        answer = desk.answer(codec.encoded(Question(ask=ask)).encode())
        assert answer.failure is None, answer.failure
        return documents(base64.b64decode(answer.value))

    document = asked(AskKeys())
    one, revoked = document.keys[1], time.time() - 100
    many = tuple(
        dataclasses.replace(
            one, public_key=base64.b64encode(b"%d" % number).decode(), revoked=revoked + number
        )
        for number in range(MAX_KEYS)
    )
    vault.keep(roles.signed(roles.changed(document, time.time(), (*document.keys, *many)), vault.root()))
    document = asked(AskKeys())
    for _ in range(2):
        signing = roles.signing_key(document, KeyRole.SEAL, time.time())
        assert signing
        document = asked(AskRevoke(request=RevokeRequest(key=signing.id()), version=document.version))
        assert len(document.keys) == MAX_KEYS
        assert [key.revoked is None for key in document.keys if key.id() == signing.id()] == [False]
        assert {key.role for key in document.keys if key.revoked is None} == set(KeyRole)
    assert not {key.id() for key in many[:5]} & {key.id() for key in document.keys}
