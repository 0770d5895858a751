"""What two servers can prove to each other, and what is left to decide when one of them trusts no longer.

Heads of the audit logs are exchanged over the real link; then one site's log is rewritten, hashes and all, by
whoever owns its database. A run is broken by a revocation, and a person ends it once both are partners again.
"""

import asyncio
import base64
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.lab.serve.two_sites import Owner, TwoOwners, trusted

from crossport.audit.head import head_of
from crossport.audit.verify import Verdict
from crossport.engine import audit_rows
from crossport.engine.schema import audit_nodes, audit_records, audit_tip
from crossport.model import codec
from crossport.model.audit import AuditRecord
from crossport.model.head import HeadKind, SignedHead
from crossport.model.keyring import key_id
from crossport.model.vm import VM, PowerState

REFUSED = 7
NEEDS_ATTENTION = 5
LONG_S = 150.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Generator[TwoOwners]:
    with TwoOwners(tmp_path_factory.mktemp("owners")) as both:
        yield both


def test_a_run_that_a_revocation_broke_is_resolved_and_cleaned_through_the_link(two: TwoOwners) -> None:
    two.make("db")
    move = ("migrate", "db", "--from", "alpha@north", "--to", "beta")
    run = two.south.answered(*move, "--hook", "before:image_upload:hold", "--detach")["id"]
    two.south.machine.wait(two.reached.exists, LONG_S)
    for owner, other in ((two.north, "south"), (two.south, "north")):
        owner.run("trust", "revoke", other)
    two.go.touch()
    two.south.run("run", "watch", run, status=NEEDS_ATTENTION)
    # North has stopped its VM; south has no copy, and nobody may ask the other for anything.
    assert at_alpha(two, "db").power is PowerState.STOPPED
    assert asyncio.run(two.beta.vms()) == ()

    for owner, other in ((two.north, "south"), (two.south, "north")):
        owner.run("trust", "forget", other)
    (again := two.root / "again").mkdir()
    trusted(again, two.north, two.south)
    resolution = two.south.answered("run", "resolve", run, "--as", "source")["id"]
    two.south.run("run", "watch", resolution, status=4)
    source = at_alpha(two, "db")
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert two.south.answered("run", "clean", run)["left"] == []
    shown = two.south.answered("run", "show", run)
    assert shown["run"]["state"] == "rolled-back"
    assert asyncio.run(two.beta.vms()) == ()
    # And it can go over now.
    two.south.watch(two.south.answered(*move, "--detach")["id"])
    two.check("db")


def at_alpha(two: TwoOwners, name: str) -> VM:
    return asyncio.run(two.alpha.vm(name))


def test_a_log_that_one_site_rewrites_does_not_fit_what_its_partner_has_countersigned(two: TwoOwners) -> None:
    two.make("log")
    run = two.north.answered("migrate", "log", "--from", "alpha", "--to", "beta@south", "--detach")["id"]
    two.north.watch(run)
    least = len(two.north.answered("audit", "list", "--run", run))
    assert least
    size = two.north.answered("audit", "list")[-1]["number"]
    two.south.machine.wait(lambda: max(countersigned(two.south), default=0) >= size, LONG_S)

    # South keeps what it needs to judge; north's own log fits it.
    keyring = two.root / "keyring.json"
    for owner in (two.north, two.south):
        trust_keys(two.south, owner, keyring)
    heads = two.root / "north.heads"
    two.south.run("audit", "heads", "--site", "north", "--output", str(heads))

    def judged(name: str) -> tuple[int, set[str], int]:
        log = two.root / name
        two.north.run("audit", "export", str(log))
        words = ("audit", "verify", str(log), "--heads", str(heads), "--keyring", str(keyring))
        status, out, told = two.south.machine.run(
            *words, "--json", CROSSPORT_SETTINGS=str(two.south.settings)
        )
        verdict = codec.decoded(out, Verdict)
        assert status in (0, REFUSED), told
        return status, {flaw.code for flaw in verdict.flaws}, verdict.proven

    status, flaws, proven = judged("whole.log")
    assert (status, flaws) == (0, set())
    assert proven >= size

    rewrite(two.north, lambda records: [hidden(one) for one in records])
    assert judged("rewritten.log")[:2] == (REFUSED, {"audit.log.rewritten"})
    # Its own signer does not sign that either.
    assert "audit.head.forked" in two.north.run("audit", "heads", "--sign", status=REFUSED)

    rewrite(two.north, lambda records: records[: len(records) // 2])
    assert "audit.log.cut" in judged("cut.log")[1]


def countersigned(owner: Owner) -> list[int]:
    """Return the sizes of north's log that this site has countersigned and kept."""
    kept = owner.answered("audit", "heads", "--site", "north")
    heads = [codec.from_plain(one, SignedHead) for one in kept]
    return [head_of(one)[0].size for one in heads if one.kind is HeadKind.WITNESS]


def trust_keys(judge: Owner, owner: Owner, keyring: Path) -> None:
    """Let the keys of a site be believed, as both operators do over another way."""
    document = keyring.parent / f"{owner.name}.roles"
    told = owner.answered("key", "list", "--document", str(document))
    root = key_id(base64.b64decode(told["document"]["root"]))
    judge.run("image", "trust", str(keyring), str(document), "--site", owner.name, "--root", root)


def hidden(told: AuditRecord) -> AuditRecord:
    """Return a record as if nobody had been there."""
    return replace(told, actor="token 0000000000000000")


def rewrite(owner: Owner, change: Callable[[Sequence[AuditRecord]], Sequence[AuditRecord]]) -> None:
    """Write a site's log anew, hashes and all, as its operator could."""
    owner.kill()
    engine = sa.create_engine(f"sqlite:///{owner.machine.control / 'engine.sqlite'}")
    with closing(engine.connect()) as connection, connection.begin():
        kept = audit_rows.records(connection, -1, 1 << 30, "", "")
        for table in (audit_records, audit_nodes):
            connection.execute(sa.delete(table))
        connection.execute(sa.update(audit_tip).values(size=0, roots=b""))
        audit_rows.append(connection, change([codec.decoded(one.text, AuditRecord) for one in kept]))
    engine.dispose()
    (owner.machine.control / "socket").unlink()
    owner.serve()
