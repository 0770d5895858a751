"""What security costs: processor time and latency that a site without it would save.

* sealing and verifying a package of a guest, beside writing it unsealed: processor seconds for each gigabyte
* stating, signing and verifying a seal alone: what is added to disks that are streamed and hashed anyway
* whole migrations of a guest over 1 Gbit/s, sealed and not, in turn
* TLS between two ends on this machine, beside the same bytes without it
* who a request is of, from its token, and whether the policies allow it: time for each request
* the audit log: records written a second, and what it takes to write and to verify a million

Prints a table; ``--facts`` writes the figures as JSON. Needs root, for namespaces and a link with a rate.
"""

import argparse
import asyncio
import hashlib
import json
import os
import resource
import secrets
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit_million import audit_log
from crossport.api.token import Tokens
from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.authorize.authorizer import PolicyAuthorizer
from crossport.authorize.book import opened
from crossport.certify.replay import Seen
from crossport.certify.seal import sealed
from crossport.certify.verify import Importer, Verification
from crossport.engine import Engine, EngineSettings
from crossport.identity import SiteIdentity
from crossport.identity.key_signer import KeySigner
from crossport.identity.role_document import public
from crossport.identity.tls import context_of, load
from crossport.model.access import Right, Role, TokenRequest
from crossport.model.audit import AuditEntry, AuditResult, Result
from crossport.model.authorization import Principal, Question, Resource
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.import_policy import ImportPolicy, Partner
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole
from crossport.units import MIB
from laboratory import GUESTS, Guest
from machine import CACHE, SCRATCH, facts
from sealed_moves import sealed_moves
from security_page import security_page

COMMAND = (sys.executable, "-m", "crossport.app")
GIGA = 1e9
TLS_RECORD = 16 << 10
WRITERS = 100
"""Callers that have something written down at the same time."""


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="MiB of the guest's disk (default 1024)")
    parser.add_argument("--records", type=int, default=1_000_000, help="of the audit log (default a million)")
    parser.add_argument("--moves", type=int, default=12, help="migrations each way (default 12)")
    parser.add_argument("--quick", action="store_true", help="a small disk, few records, a small guest once")
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="where files are made")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where guests are kept")
    chosen = parser.parse_args()
    log.configure("warning")
    if os.geteuid() != 0:
        print("bench/security.py needs root: it makes network namespaces and a link of 1 Gbit/s.")
        return 2
    began = time.monotonic()
    size, records = (32, 20_000) if chosen.quick else (chosen.size, chosen.records)
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"machine": facts(folder)}
        found["limits"] = {"sha256_s": _sha256_s(size * MIB), "aes_s": _aes_s(size * MIB)}
        found["package"] = _package(folder, size * MIB)
        found["seal"] = _seal(20 if chosen.quick else 200)
        found["tls"] = _tls(folder / "identity", size * MIB)
        found |= asyncio.run(_engine(folder / "engine", 500 if chosen.quick else 5000))
        found["decision_s"] = _decision(200 if chosen.quick else 2000)
        found["log"] = audit_log(folder / "audit", records)
    print(f"all but the migrations: {time.monotonic() - began:.0f} s", file=sys.stderr)
    guest, moves = (Guest("20 MB", 0), 1) if chosen.quick else (GUESTS[0], chosen.moves)
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="crossport-bench-") as name:
        found["moves"] = asyncio.run(sealed_moves(Path(name), chosen.cache, guest, moves))
    found["seconds"] = time.monotonic() - began
    print(f"all: {found['seconds']:.0f} s", file=sys.stderr)
    found["machine"]["load_after"] = os.getloadavg()[0]
    if chosen.facts:
        chosen.facts.write_text(json.dumps(found, indent=1) + "\n")
    print(security_page(found))
    return 0


def _spent(call: Callable[[], object]) -> dict[str, float]:
    """Return the wall seconds of a call, and the CPU seconds of this process and of those that ended."""
    before, began = _cpu_s(), time.monotonic()
    call()
    return {"wall_s": time.monotonic() - began, "cpu_s": _cpu_s() - before}


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _sha256_s(size: int) -> float:
    """Return the CPU seconds of one SHA-256 over so many bytes."""
    block, digest = os.urandom(MIB), hashlib.sha256()
    return _spent(lambda: [digest.update(block) for _ in range(size // MIB)])["cpu_s"]


def _aes_s(size: int) -> float:
    """Return the CPU seconds of AES-256-GCM over so many bytes, in pieces as TLS has them, and back."""
    cipher, nonce, piece = AESGCM(os.urandom(32)), os.urandom(12), os.urandom(TLS_RECORD)
    closed = cipher.encrypt(nonce, piece, b"")

    def there_and_back() -> None:
        for _ in range(size // TLS_RECORD):
            cipher.encrypt(nonce, piece, b"")
            cipher.decrypt(nonce, closed, b"")

    return _spent(there_and_back)["cpu_s"]


def _package(folder: Path, size: int) -> dict[str, Any]:
    """Export a disk of bytes that do not compress, seal the package, and verify it."""
    with (folder / "disk.raw").open("wb") as disk:
        for _ in range(size // MIB):
            disk.write(os.urandom(MIB))
    (folder / "policy.toml").write_text('site = "beta"\n[[partners]]\nsite = "alpha"\n')
    (folder / "policy.toml").chmod(0o600)

    def run(*words: str) -> str:
        return subprocess.run(
            [*COMMAND, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    run("key", "make", "seal.key")
    (folder / "alpha.json").write_text(run("key", "show", "seal.key", "--json"))
    run("image", "trust", "keyring.json", "alpha.json", "--site", "alpha")
    terms = ("--key", "seal.key", "--site", "alpha", "--cloud", "lab", "--for", "beta")
    by = ("--keyring", "keyring.json", "--policy", "policy.toml")
    return {
        "size": size,
        "export": _spent(lambda: run("image", "export", "web.ova", "disk.raw")),
        "seal": _spent(lambda: run("image", "seal", "web.ova", "sealed.ova", *terms)),
        "verify": _spent(lambda: run("image", "verify", "sealed.ova", *by)),
    }


def _seal(times: int) -> dict[str, float]:
    """State, sign and verify the seal of a VM with four disks that were streamed: median seconds."""
    signer, now = KeySigner.made(Algorithm.ECDSA_P256), time.time()
    disks = tuple(
        SealedDisk(id=f"disk-{number}", size=1 << 40, chunk_size=MIB, root="ab" * 32) for number in range(4)
    )
    part = Part(kind=PartKind.DESCRIPTOR, name="web.ovf", size=7, sha256="cd" * 32)
    seal = Seal(
        site="alpha",
        cloud="lab",
        importer="beta",
        run="bench",
        nonce="5e" * 16,
        made=now,
        valid_until=now + 3600,
        manifest=Manifest(vm="web", parts=(part,), disks=disks),
    )
    key = Key(
        public_key=public(signer),
        algorithm=signer.algorithm,
        site="alpha",
        role=KeyRole.SEAL,
        valid_from=now - 60,
        valid_until=now + 86400,
    )
    policy = ImportPolicy(site="beta", partners=(Partner(site="alpha"),))
    importer = Importer("beta", Keyring(keys=(key,)), policy, Seen(), now)
    envelopes: list[bytes] = []

    def sign() -> None:
        envelopes.append(sealed(replace(seal, nonce=secrets.token_hex(16)), signer))

    return {
        "sign_s": statistics.median(_spent(sign)["wall_s"] for _ in range(times)),
        "verify_s": statistics.median(
            _spent(lambda text=text: Verification(importer).seal(text))["wall_s"] for text in envelopes
        ),
    }


def _tls(folder: Path, size: int) -> dict[str, Any]:
    """Send bytes over loopback with mutual TLS 1.3, and without: CPU seconds of both ends together."""
    identity = SiteIdentity.open(folder, "bench", clock=SystemClock())
    server = context_of(ssl.PROTOCOL_TLS_SERVER, identity.authority_pem)
    client = context_of(ssl.PROTOCOL_TLS_CLIENT, identity.authority_pem)
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (server, client):
        leaf = identity.issue("control", "bench", hosts=("localhost",))
        load(context, leaf.certificate_pem, leaf.key_pem)
    return {
        "size": size,
        "plain": _spent(lambda: _sent(size, None, None)),
        "tls": _spent(lambda: _sent(size, server, client)),
        "handshake": _spent(lambda: _sent(0, server, client)),
    }


def _sent(size: int, server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def receive() -> None:
            connection, _ = listener.accept()
            with server.wrap_socket(connection, server_side=True) if server else connection as peer:
                buffer = memoryview(bytearray(MIB))
                while peer.recv_into(buffer):
                    continue

        receiving = threading.Thread(target=receive)
        receiving.start()
        dialled, block = socket.create_connection(listener.getsockname()), os.urandom(MIB)
        with client.wrap_socket(dialled, server_hostname="localhost") if client else dialled as peer:
            for _ in range(size // MIB):
                peer.sendall(block)
        receiving.join()


async def _engine(folder: Path, count: int) -> dict[str, Any]:
    """Ask whose a token is, and write the audit log, as many callers at once."""
    clock = SystemClock()
    engine = Engine(EngineSettings(state_dir=folder), clock)
    async with engine:
        tokens = Tokens(engine.documents, clock, secrets.token_bytes)
        _, secret = await tokens.create(TokenRequest(name="bench", role=Role.VIEWER), tenant="default")
        header = f"Bearer {secret.reveal()}"
        asked: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            await tokens.caller(header)
            asked.append(time.perf_counter() - began)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(_written(engine, count // WRITERS))
        return {
            "token_s": statistics.median(asked),
            "audit": {"writers": WRITERS, "records": count, "wall_s": time.monotonic() - began},
        }


async def _written(engine: Engine, count: int) -> None:
    entry = AuditEntry(action="vm.start", actor="token 0123456789abcdef", tenant="acme", subject="alpha/web")
    for _ in range(count):
        await engine.audit.note(entry, AuditResult(result=Result.DONE))


def _decision(times: int) -> float:
    """Return the median seconds that the policies take for one request."""
    authorizer = PolicyAuthorizer(opened())
    principal = Principal(tenant="acme", rights=frozenset({Right.READ, Right.OPERATE}))
    question = Question(
        principal=principal,
        operation="run.cancel",
        resource=Resource(kind="run", tenant="acme", id="0123456789ab", clouds=("alpha", "beta")),
    )
    if not authorizer.decide(question).allowed:
        raise RuntimeError("An operator may cancel runs.")
    return statistics.median(_spent(lambda: authorizer.decide(question))["wall_s"] for _ in range(times))


if __name__ == "__main__":
    sys.exit(main())
