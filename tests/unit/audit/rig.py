"""A site with a real log in a database, its signer, its heads, and an attacker who writes in the database."""

import base64
import contextlib
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path

from crossport import merkle
from crossport.app.clock import SystemClock
from crossport.audit.recorded import recorded
from crossport.audit.tree import HEIGHT, Frontier
from crossport.audit.verify import Verdict, line, verified
from crossport.engine.audit_log import AuditLog
from crossport.engine.database import Database
from crossport.engine.documents import Documents
from crossport.engine.settings import EngineSettings
from crossport.identity import SiteIdentity
from crossport.identity import role_document as roles
from crossport.identity.signing.desk import Authority, Desk
from crossport.identity.signing.heads import KeptHeads as Signing
from crossport.identity.signing.keeper import Ask
from crossport.identity.signing.question import AskKeys, Question
from crossport.identity.signing.vault import Vault
from crossport.migration.heads import HeadParts, KeptHeads
from crossport.model import codec
from crossport.model.audit import AuditEntry
from crossport.model.head import SignedHead
from crossport.model.keyring import Keyring
from crossport.model.partner import Partner, PartnerState


class Clock(SystemClock):
    """The machine's time, moved."""

    moved_s = 0.0

    def wall(self) -> float:
        return time.time() + self.moved_s


class NearSigner:
    """The signer's judgement in this process."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def ask(self, ask: Ask) -> bytes:
        answer = self.desk.answer(codec.encoded(Question(ask=ask)).encode())
        if answer.failure:
            raise answer.failure.error()
        return base64.b64decode(answer.value)


@dataclass
class Rig:
    """One site. ``heads`` signs and keeps; `forge` is the attacker's hand."""

    name: str
    folder: Path
    database: Database
    log: AuditLog
    heads: KeptHeads
    documents: Documents
    signer: NearSigner
    clock: Clock

    async def act(self, count: int = 1) -> None:
        """Do something ``count`` times, each with intent and outcome."""
        for number in range(count):
            async with recorded(self.log, AuditEntry(action="vm.stop", actor=f"token {number}")):
                pass

    async def export(self) -> list[bytes]:
        return [line(one) for one in await self.log.records(limit=100_000)]

    async def keys(self) -> Keyring:
        return roles.keyring((await self.partner()).document)

    async def partner(self) -> "Known":
        """Return this site as a partner knows it."""
        envelope = await self.signer.ask(AskKeys())
        root = roles.root_of(envelope)
        document = roles.believed(envelope, self.name, root, self.clock.wall(), None)
        text = base64.b64encode(envelope).decode()
        partner = Partner(
            name=self.name,
            authorities=(),
            address="https://there.example:1",
            root=base64.b64encode(root).decode(),
            roles=text,
            state=PartnerState.ACCEPTED,
            since=0.0,
            changed=0.0,
            refreshed=self.clock.wall(),
        )
        return Known(partner, document)

    async def verdict(self, **holders: Iterable[SignedHead]) -> Verdict:
        """Return what is found in the log as it is now, held against heads that were kept."""
        kept = {name: tuple(heads) for name, heads in holders.items()}
        return verified(await self.export(), kept, await self.keys())

    def sql(self, statement: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "engine.sqlite")) as database:
            database.execute(statement, values)
            database.commit()

    async def rewrite(self, texts: Iterable[str]) -> None:
        """Replace the log by one of these records, with all hashes as they have to be."""
        for table in ("audit_records", "audit_nodes"):
            self.sql(f"DELETE FROM {table}")  # noqa: S608 - a fixed name
        edge = Frontier()
        for text in texts:
            leaf = merkle.leaf(text.encode())
            row = (edge.size, leaf, "", "", "", text)
            self.sql("INSERT INTO audit_records VALUES (?, ?, ?, ?, ?, ?)", *row)
            for kept in edge.add(leaf):
                assert kept[0] % HEIGHT == 0
                self.sql("INSERT INTO audit_nodes VALUES (?, ?, ?)", *kept)
        self.sql("UPDATE audit_tip SET size = ?, roots = ?", edge.size, b"".join(edge.roots))


@dataclass(frozen=True)
class Known:
    """A partner, and its role document."""

    partner: Partner
    document: roles.RoleDocument


@contextlib.asynccontextmanager
async def site(folder: Path, name: str, signer: NearSigner | None = None) -> AsyncGenerator[Rig]:
    """Run a site below ``folder``; with ``signer`` it has that of another node."""
    folder.mkdir(exist_ok=True)
    clock = Clock()
    database = await Database.open(folder, "", 30.0)
    log = AuditLog(database, EngineSettings(state_dir=folder, site=name), clock)
    if signer is None:
        identity = SiteIdentity.open(folder / "identity", name, clock=clock)
        authority = Authority(site=name, key=identity.authority_key, approvals="5e" * 32)
        signer = NearSigner(Desk(Vault(folder / "signer"), authority, clock))
    documents = Documents(database)
    parts = HeadParts(
        site=name, book=lambda: log, documents=lambda: documents, signer=Signing(signer), clock=clock
    )
    yield Rig(name, folder, database, log, KeptHeads(parts), documents, signer, clock)
    await log.close()
    await database.close()
