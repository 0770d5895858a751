"""One identity for all nodes of a site: the authority is kept sealed in the database that they share.

What opens the seal, the master key, stays out of the database: a further node needs a copy of that one file,
or is handed the same key.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.app.master_key import KEY_FILE, MasterSource
from crossport.app.sealed import SealedDocuments
from crossport.engine.database import Database
from crossport.engine.documents import Documents
from crossport.identity import SealedSecrets, SiteIdentity, private_file
from crossport.spi.clock import Clock
from crossport.spi.document import Documents as AnyDocuments
from crossport.spi.secret import Secret

__all__ = ["AUTHORITY_FILE", "share_identity", "shared_documents"]

AUTHORITY_FILE = "authority.pem"
REFERENCE = "site/authority"
PATIENCE_S = 30.0
"""How long a transaction may stand still while nodes start."""


@dataclass(frozen=True, slots=True)
class _Open:
    documents: AnyDocuments


@asynccontextmanager
async def shared_documents(state_dir: Path, database_url: str) -> AsyncGenerator[Documents]:
    """Give the documents of the shared database before there is an engine."""
    database = await Database.open(state_dir, database_url, PATIENCE_S)
    try:
        yield Documents(database)
    finally:
        await database.close()


async def share_identity(
    directory: Path, site: str, documents: AnyDocuments, clock: Clock, source: MasterSource
) -> None:
    """Let ``directory`` hold the authority of the site whose documents these are; the first node makes it.

    Of nodes that start at the same moment one is the first, and the others take what it made. Raise Refused
    ``identity.key.missing`` when this node cannot open it, Conflict ``identity.authority.other`` when it has
    another one already.
    """
    keeper = _Open(documents)
    if await SealedDocuments(keeper).read(REFERENCE) is None:
        await _be_first(directory, site, keeper, clock, source)
    await _take(directory, site, SealedDocuments(keeper), source)


async def _be_first(directory: Path, site: str, keeper: _Open, clock: Clock, source: MasterSource) -> None:
    """Make the site's authority, unless another node is faster: then remove what was made here."""
    private_file.make_private(directory)
    made = [path for name in (KEY_FILE, AUTHORITY_FILE) if not (path := directory / name).exists()]
    # On disk first: after a crash a sealed authority has the key that opens it.
    keys = source.open(directory / KEY_FILE)
    SiteIdentity.open(directory, site, clock=clock)
    mine = private_file.read(directory / AUTHORITY_FILE) or b""
    sealed = SealedSecrets(SealedDocuments(keeper, only_new=True), keys, site=site, entropy=os.urandom)
    try:
        await sealed.put(REFERENCE, Secret(mine.decode()))
    except errors.Conflict as error:
        if error.code != "document.changed":
            raise
        for path in made:
            private_file.remove(path)


async def _take(directory: Path, site: str, store: SealedDocuments, source: MasterSource) -> None:
    """Write the site's authority where this node looks for it."""
    private_file.make_private(directory)
    key_file = directory / KEY_FILE
    if source.missing(key_file):
        raise _locked(site, key_file, "this node has no master key")
    keys = source.open(key_file)
    try:
        kept = await SealedSecrets(store, keys, site=site, entropy=os.urandom).fetch(REFERENCE)
    except errors.Broken as error:
        why = "this node has another master key" if error.code == "secret.key.missing" else error.text
        raise _locked(site, key_file, why) from error
    path, theirs = directory / AUTHORITY_FILE, kept.reveal().encode()
    mine = private_file.read(path)
    if mine is None:
        private_file.write(path, theirs)
    elif mine != theirs:
        raise errors.Conflict(
            "identity.authority.other",
            f"{path} is another authority than that of the site whose database this is.",
            field="database_url",
            remedy="Use the right database, or remove the file to take over the database's authority.",
        )


def _locked(site: str, key_file: Path, why: str) -> errors.Refused:
    return errors.Refused(
        "identity.key.missing",
        f"The database holds the sealed identity of site {site}, and {why}.",
        field="database_url",
        remedy=f"Copy control/identity/{KEY_FILE} of another node to {key_file} (mode 0600); start again.",
    )
