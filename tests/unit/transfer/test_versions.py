"""Ends of neighbouring releases: a copy between them goes on in what both speak."""

import contextlib
import json
import tempfile
import threading
from dataclasses import replace
from socket import socketpair

import pytest
from tests.unit.transfer.copying import CHUNK, KEY, Copy, hello, root_of
from tests.unit.transfer.test_session import ALONE, Once, sent_to

from crossport import errors
from crossport.model.artifact import DiskRef, Heat, Place, Ticket, Way
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer import frame
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Cut
from crossport.transfer.frame import LEAST_VERSION, VERSION, Welcome
from crossport.transfer.job import End, Job
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.manner import Manner, Terms
from crossport.transfer.meter import Meter
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.receiver import Receiver

CONTENT = noise(300 * CHUNK)


@pytest.mark.parametrize("sends", range(LEAST_VERSION, VERSION + 2))
@pytest.mark.parametrize("expects", range(LEAST_VERSION, VERSION + 1))
def test_a_sync_between_releases_sends_only_what_changed(sends: int, expects: int) -> None:
    copy = Copy(CONTENT)
    copy.sends, copy.expects = replace(copy.sends, version=sends), replace(copy.expects, version=expects)
    assert copy.run() == (root_of(CONTENT), root_of(CONTENT))
    changed = noise(CHUNK, "new") + CONTENT[CHUNK:]
    copy.change(changed)
    assert copy.run() == (root_of(changed), root_of(changed))
    assert copy.target() == changed
    assert copy.meters[1].counters.written == CHUNK


@pytest.mark.parametrize("version", range(LEAST_VERSION, VERSION + 1))
def test_a_key_that_both_ends_know_is_told_only_to_those_who_expect_to_be_told(version: int) -> None:
    disks = MemoryDisks()
    left, right = socketpair()
    with tempfile.TemporaryFile() as journal, contextlib.closing(Channel(left)) as sender:
        store = LeafStore(journal.fileno(), Cut(CHUNK, CHUNK), {}, durable=False)
        writer = disks.open_writer(disks.create("b/target", CHUNK))
        receiver = Receiver(writer, Once(right), Terms(hello(CHUNK), ALONE, KEY), Meter(), store)
        thread = threading.Thread(target=_ended, args=(receiver,))
        thread.start()
        sender.send(hello(CHUNK, version=version).encoded())
        welcome = Welcome.decoded(sender.receive())
        sender.abort()
        thread.join()
    assert welcome.version == version
    assert len(welcome.key) == (0 if version >= frame.KEY_AGREED else len(KEY))
    assert welcome.key != KEY


def _ended(receiver: Receiver) -> None:
    with contextlib.suppress(errors.Unavailable):
        receiver.run()


@pytest.mark.parametrize("words", [Welcome(b"").encoded(), Welcome(b"", version=2).encoded()])
def test_a_receiver_that_tells_no_key_where_none_came_with_the_job_is_refused(words: bytes) -> None:
    assert sent_to([words], CONTENT, key=b"").code == "transfer.peer.malformed"


def test_a_job_of_an_older_site_has_no_key_and_one_of_a_newer_site_may_say_more() -> None:
    ref, place = DiskRef(kind="nbd", locator="unix:/x", size=1), Place(cloud="a", subnet="b", address="")
    ticket = Ticket(
        id="t", tenant="acme", run="r", epoch=1, artifact="d", way=Way.READ, ref=ref, place=place,
        byte_budget=1, expires=1.0, nonce="n",
    )  # fmt: skip
    job = Job(ticket, hello(1), End("", "", 1), Manner(), 1.0, 1.0, names_key=KEY.hex())
    said = json.loads(job.line())
    del said["names_key"]
    assert Job.of(json.dumps({**said, "of_tomorrow": 1}).encode()) == replace(job, names_key="")
    assert Job.of(job.line()) == job
    # A worker of the release before knows no images, and would refuse a ticket that tells some.
    told = replace(job, ticket=replace(ticket, published=(replace(ref, identity="image"),)))
    assert json.loads(told.line())["ticket"] == said["ticket"]
    assert replace(job, ticket=replace(ticket, unopened="It is silent.")).line() == job.line()
    assert Job.of(told.line()) == told


def test_each_tenant_and_each_site_has_a_key_of_its_own_that_stays() -> None:
    here, there = NameKeys(bytes(32)), NameKeys(bytes(31) + b"1")
    assert here.key("acme") == NameKeys(bytes(32)).key("acme")
    assert len({here.key("acme"), here.key("acme2"), there.key("acme")}) == 3


def test_a_worker_of_the_release_before_ignores_heat_but_refuses_what_is_owed() -> None:
    ref, place = DiskRef(kind="nbd", locator="unix:/x", size=1), Place(cloud="a", subnet="b", address="")
    ticket = Ticket(
        id="t", tenant="acme", run="r", epoch=1, artifact="d", way=Way.READ, ref=ref, place=place,
        byte_budget=1, expires=1.0, nonce="n",
    )  # fmt: skip
    job = Job(ticket, hello(1), End("", "", 1), Manner(), 1.0, 1.0)
    known = set(json.loads(job.line())["ticket"])
    warm = replace(job, ticket=replace(ticket, heat=(Heat(0, 1, 2),), defers=True))
    owing = replace(job, ticket=replace(ticket, heat=(Heat(0, 1, 2, owed=True),), defers=True))
    assert set(json.loads(warm.line())["ticket"]) == known
    assert set(json.loads(owing.line())["ticket"]) == known | {"heat"}
    assert [Job.of(one.line()) for one in (warm, owing)] == [warm, owing]
