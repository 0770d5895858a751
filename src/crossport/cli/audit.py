"""`crossport audit`: read the audit log, export it, and check an export against heads that were kept."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors, merkle
from crossport.audit.head import head_of
from crossport.audit.verify import Verdict, line, verified
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.cli.trust_file import keyring_in
from crossport.client import calls
from crossport.model import codec
from crossport.model.audit import AuditRecord, KeptRecord
from crossport.model.head import AuditProof, SignedHead

__all__ = ["app"]

CHANGED = 7
"""The exit status of a log that is not what was signed: refused."""

app = App(name="audit", help="Read, export and verify the audit log.")


@app.command(name="list")
def list_(
    *,
    run: Annotated[str, Parameter(help="Only what belongs to this run.", show_default=False)] = "",
    action: Annotated[str, Parameter(help="Only this action: run.commit.", show_default=False)] = "",
    after: Annotated[int, Parameter(help="Begin behind this record.", show_default=False)] = -1,
    limit: Annotated[int, Parameter(help="How many at most.")] = 1000,
    session: Here,
) -> None:
    """List records, by number: who was about to do what, and what came of it.

    For example:

      crossport audit list

      crossport audit list --run run-0001

      crossport audit list --action key.revoke
    """
    pages = _pages(session, after, run, action)
    kept = itertools.islice(itertools.chain.from_iterable(pages), limit)
    records = tuple(codec.decoded(one.text, AuditRecord) for one in kept)
    headers = ("NUMBER", "TIME", "KIND", "ACTION", "BY", "TO", "RESULT")
    rows = tuple(
        (
            str(one.number),
            _time(one.time),
            one.kind.value,
            one.action,
            one.actor,
            one.subject,
            " ".join(part for part in (one.result.value, one.code) if part),
        )
        for one in records
    )
    session.out.result(records, Table(headers, rows, right=frozenset({"NUMBER"})))


@app.command
def show(number: int, /, *, session: Here) -> None:
    """Show a record, and check the proof that it is in the log as it is now.

    For example:

      crossport audit show 41

    Parameters
    ----------
    number
        The record's number, as `crossport audit list` shows it.
    """
    proof = session.send(calls.audit_record(number))
    _require_proven(proof)
    told = codec.decoded(proof.record.text, AuditRecord)
    facts = [(name, text) for name, text in told.facts.items()]
    shown = fields(
        f"Record {told.number}",
        ("time", _time(told.time)),
        ("kind", told.kind.value),
        ("action", told.action),
        ("by", told.actor),
        ("tenant", told.tenant),
        ("to", told.subject),
        ("run", told.run),
        ("intent", "" if told.intent is None else str(told.intent)),
        ("result", told.result.value),
        ("code", told.code),
        ("text", told.text),
        *facts,
        ("leaf", proof.record.leaf),
        ("proven", f"one of {proof.size} records under {proof.root}"),
    )
    session.out.result(proof, shown)


@app.command
def export(
    file: Path,
    /,
    *,
    after: Annotated[int, Parameter(help="Begin behind this record.", show_default=False)] = -1,
    session: Here,
) -> None:
    """Write the log into a new file, a record in each line, as it was hashed.

    For example:

      crossport audit export log.jsonl

    Parameters
    ----------
    file
        The new file.
    """
    count = 0
    with _new(file) as out:
        for items in _pages(session, after):
            out.writelines(line(one) + b"\n" for one in items)
            count += len(items)
    session.out.result(
        {"file": str(file), "records": count}, fields("", ("file", str(file)), ("records", str(count)))
    )


@app.command
def heads(
    *,
    site: Annotated[str, Parameter(help="Whose log; else the site's own.", show_default=False)] = "",
    output: Annotated[
        Path | None, Parameter(help="Write them into this new file, for `verify`.", show_default=False)
    ] = None,
    sign: Annotated[bool, Parameter(negative=(), help="Have the log signed as it is now, first.")] = False,
    session: Here,
) -> None:
    """List the heads that the site keeps: of its own log with countersignatures, or of a partner's.

    For example:

      crossport audit heads --sign --output own.heads

      crossport audit heads --site south --output south.heads
    """
    if sign:
        session.send(calls.sign_audit())
    kept = session.all(lambda place: calls.audit_heads(site, place))
    if output:
        with _new(output) as out:
            out.writelines(codec.encoded(one).encode() + b"\n" for one in kept)
    rows = tuple(
        (str(head.size), _time(head.time), head.site, signer, head.root)
        for head, signer in map(head_of, kept)
    )
    headers = ("RECORDS", "TIME", "LOG OF", "SIGNED BY", "ROOT")
    session.out.result(kept, Table(headers, rows, right=frozenset({"RECORDS"})))


@app.command
def verify(
    file: Path,
    /,
    *,
    heads: Annotated[
        tuple[Path, ...],
        Parameter(negative=(), help="Heads that somebody kept: one file for each; repeatable."),
    ],
    keyring: Annotated[Path, Parameter(help="Whose keys are trusted: `crossport image trust` makes it.")],
    session: Here,
) -> int:
    """Check an exported log against heads that were kept, without any site.

    It names what is wrong and the first record: changed, left out, cut at its end, or another log than the
    one that was signed. Exit status 7 when anything is.

    For example:

      crossport audit verify log.jsonl --heads own.heads --heads south.heads --keyring keyring.json

    Parameters
    ----------
    file
        What `crossport audit export` wrote.
    """
    keys = keyring_in(keyring)
    holders = {str(path): tuple(_heads_in(path)) for path in heads}
    with _opened(file) as lines:
        verdict = verified(lines, holders, keys)
    session.out.result(verdict, *_tables(verdict))
    return CHANGED if verdict.flaws else 0


def _tables(verdict: Verdict) -> list[Table]:
    told = fields(
        "The log is whole." if not verdict.flaws else "The log is not what was signed.",
        ("site", verdict.site),
        ("records", str(verdict.size)),
        ("proven", f"{verdict.proven} by {verdict.heads} heads"),
        ("no outcome", f"{verdict.open} intents" if verdict.open else ""),
        ("root", verdict.root),
    )
    rows = tuple(
        (flaw.code, "" if flaw.record is None else str(flaw.record), flaw.text) for flaw in verdict.flaws
    )
    return [told, Table(("CODE", "FROM RECORD", "WHAT"), rows)] if rows else [told]


def _require_proven(proof: AuditProof) -> None:
    leaf = merkle.leaf(proof.record.text.encode())
    path = [bytes.fromhex(each) for each in proof.path]
    root = merkle.root_along(leaf, proof.number, proof.size, path)
    if leaf.hex() != proof.record.leaf or root is None or root.hex() != proof.root:
        raise errors.Refused(
            "audit.proof.wrong",
            f"The site does not prove that record {proof.number} is in its log.",
            field="number",
            remedy="Export the log and see from where on it is wrong: crossport audit verify",
        )


def _heads_in(path: Path) -> Iterator[SignedHead]:
    with _opened(path) as lines:
        for number, text in enumerate(lines, 1):
            try:
                yield codec.decoded(text, SignedHead)
            except errors.Invalid as error:
                raise errors.Invalid(
                    "audit.heads.invalid",
                    f"{path}, line {number}: {error.text}",
                    field="--heads",
                    remedy="Name a file that `crossport audit heads --output` wrote.",
                ) from error


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise errors.NotFound(
            "audit.file.missing",
            f"{path} cannot be read: {error.strerror}.",
            field=str(path),
            remedy="Write it with `crossport audit export`, or `crossport audit heads --output`.",
        ) from error


def _new(path: Path) -> BufferedWriter:
    try:
        return path.open("xb")
    except OSError as error:
        raise errors.Conflict(
            "audit.file.taken",
            f"{path} cannot be written anew: {error.strerror}.",
            field=str(path),
            remedy="Name a file that does not exist yet.",
        ) from error


def _pages(session: Session, after: int, run: str = "", action: str = "") -> Iterator[tuple[KeptRecord, ...]]:
    """Yield page after page; one is kept in memory, however long the log is."""
    place: str | None = "" if after < 0 else str(after)
    while place is not None:
        page = session.send(calls.audit_records(run, action, place))
        yield page.items
        place = page.next or None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
