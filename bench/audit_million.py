"""An audit log of many records: written as a site writes it, exported, and verified against a signed head.

Run with ``write`` or ``verify``, a folder and a number it does one of both and prints what that took as JSON:
in a process of its own, so that its memory is known.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.audit.head import signed
from crossport.audit.verify import line, verified
from crossport.engine import Engine, EngineSettings
from crossport.identity.key_signer import KeySigner
from crossport.identity.role_document import public
from crossport.model import codec
from crossport.model.audit import AuditEntry, AuditResult, Result
from crossport.model.head import SignedHead
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole

__all__ = ["audit_log"]

WRITERS = 500
"""Callers that have something written down at the same time: as many as share one transaction at most."""
PAGE = 1000
SAMPLE = 100_000
ENTRY = AuditEntry(action="vm.start", actor="token 0123456789abcdef", tenant="acme", subject="alpha/web")


def audit_log(folder: Path, records: int) -> dict[str, Any]:
    """Return what it took to write and to verify a log of so many records below ``folder``."""
    return {"records": records} | {what: _child(what, folder, records) for what in ("write", "verify")}


def _child(what: str, folder: Path, records: int) -> dict[str, Any]:
    argv = [sys.executable, str(Path(__file__)), what, str(folder), str(records)]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(what: str, folder: Path, records: int) -> int:
    """Do one part, and print what it took."""
    log.configure("warning")
    folder.mkdir(exist_ok=True)
    found = asyncio.run(_written(folder, records)) if what == "write" else _verified(folder, records)
    print(json.dumps(found | {"cpu_s": time.process_time(), "peak_rss_bytes": _peak()}))
    return 0


def _peak() -> int:
    """Return the most memory that this process had, in bytes; not what it was forked from."""
    [told] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(told.split()[1]) * 1024


async def _written(folder: Path, records: int) -> dict[str, Any]:
    engine = Engine(EngineSettings(state_dir=folder / "engine"), SystemClock())
    async with engine:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                mine = records // WRITERS + (number < records % WRITERS)
                group.create_task(_noted(engine, mine))
        wall_s = time.monotonic() - began
        size = sum(path.stat().st_size for path in (folder / "engine").glob("engine.sqlite*"))
        head = await engine.audit.tip()
        began = time.monotonic()
        await _exported(engine, folder / "log")
        exported_s = time.monotonic() - began
    signer = KeySigner.made(Algorithm.ECDSA_P256)
    (folder / "head").write_text(codec.encoded(signed(head, signer)))
    key = Key(
        public_key=public(signer),
        algorithm=signer.algorithm,
        site=head.site,
        role=KeyRole.AUDIT,
        valid_from=head.time - 60,
        valid_until=head.time + 86400,
    )
    (folder / "key").write_text(codec.encoded(key))
    return {"writers": WRITERS, "wall_s": wall_s, "exported_s": exported_s, "database_bytes": size}


async def _noted(engine: Engine, count: int) -> None:
    for _ in range(count):
        await engine.audit.note(ENTRY, AuditResult(result=Result.DONE))


async def _exported(engine: Engine, file: Path) -> None:
    """Write the log page by page, as the command does."""
    after = -1
    with file.open("wb") as out:
        while page := await engine.audit.records(after=after, limit=PAGE):
            out.writelines(line(one) + b"\n" for one in page)
            after += len(page)


def _verified(folder: Path, records: int) -> dict[str, Any]:
    keys = Keyring(keys=(codec.decoded((folder / "key").read_text(), Key),))
    head = codec.decoded((folder / "head").read_text(), SignedHead)
    began = time.monotonic()
    with (folder / "log").open("rb") as lines:
        verdict = verified(lines, {"own": (head,)}, keys)
    wall_s = time.monotonic() - began
    if verdict.flaws or verdict.proven != records:
        raise RuntimeError(verdict)
    return {
        "wall_s": wall_s,
        "log_bytes": (folder / "log").stat().st_size,
        "hashes_s": _hashes_s(folder / "log") * records,
    }


def _hashes_s(file: Path) -> float:
    """Return the seconds that SHA-256 alone takes for one record and the node above it."""

    def sample() -> Iterator[bytes]:
        with file.open("rb") as lines:
            for _, text in zip(range(SAMPLE), lines, strict=False):
                yield text

    texts, node = list(sample()), os.urandom(65)
    began = time.process_time()
    digest: Callable[[bytes], Any] = hashlib.sha256
    for text in texts:
        digest(text).digest()
        digest(node).digest()
    return (time.process_time() - began) / len(texts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
