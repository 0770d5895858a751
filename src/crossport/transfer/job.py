"""What a worker is told and what it tells: JSON lines on its standard input and output.

Keys and tickets travel in the job and nowhere else: not in arguments, not in the environment.

A worker may be of the release before. What stands in the job itself is advice, and ignored where it is not
known. A field of a record in it, as of a ticket, may restrict: one that is not known is refused, and only
those are told that say something (`crossport.model.record.sparse`).
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from crossport import errors
from crossport.model.artifact import Copied, DiskRef, Heat, Place, Ticket, Way
from crossport.model.record import sparse
from crossport.transfer.frame import Hello
from crossport.transfer.manner import Manner

__all__ = [
    "CONNECT_S",
    "MAX_LINE",
    "Credential",
    "DigestJob",
    "End",
    "Job",
    "LookJob",
    "failure_from",
    "failure_line",
    "known",
    "subject_of",
]

T = TypeVar("T")

MAX_LINE = 256 << 10
CONNECT_S = 20.0
"""How long an end may take to come to the other, where a job does not say."""
_KINDS: dict[str, type[errors.Error]] = {
    kind.__name__: kind
    for kind in (
        errors.Invalid,
        errors.NotFound,
        errors.Conflict,
        errors.Refused,
        errors.Unavailable,
        errors.Broken,
    )
}


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a worker is: its certificate, as PEM, and the key. The worker is told before its job.

    ``stock_key`` (hex) opens the stock that it inherits, if it does.
    """

    certificate: str
    key: str = field(repr=False)
    stock_key: str = field(default="", repr=False)

    def line(self) -> bytes:
        """Return the credential as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Credential":
        """Read a line of `line`."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class End:
    """Whom a worker talks to: nobody but the owner of the very certificate ``peer``, as PEM."""

    peer: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Job:
    """One end of one copy. It listens on ``end.address`` when the port is 0, else it connects to it.

    ``hello`` says the least version, whichever newer ones the worker speaks. ``names_key`` (hex) is that of
    the names; a site of an older release tells none. ``spoken`` are the words for the tenant and the run
    that the two ends use between them, where another site initiated the copy; else those of the ticket.
    """

    ticket: Ticket
    hello: Hello
    end: End
    manner: Manner
    disk_timeout_s: float
    idle_s: float
    connect_s: float = CONNECT_S
    names_key: str = field(default="", repr=False)
    spoken: tuple[str, str] | None = None

    def line(self) -> bytes:
        """Return the job as one line."""
        said = sparse(self)
        said["hello"]["least"] = self.hello.least  # where nothing is said each release means its own
        if words := said.pop("spoken", None):
            said["hello"]["spoken"] = words  # where a worker of the release before does not leave it alone
        # Beside the ticket, where a worker of the release before leaves it alone and copies all the same.
        for advice in ("published", "unopened", "heat", "defers"):
            said["ticket"].pop(advice, None)
        said["published"] = [sparse(one) for one in self.ticket.published]
        said["defers"] = self.ticket.defers
        # What is owed must not be left alone.
        owes = any(one.owed for one in self.ticket.heat)
        (said["ticket"] if owes else said)["heat"] = [asdict(one) for one in self.ticket.heat]
        return json.dumps(said).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Job":
        """Read a line of `line`."""
        said = json.loads(line)
        words = said["hello"].pop("spoken", None)
        return cls(
            spoken=(words[0], words[1]) if words else None,
            ticket=_ticket(said),
            hello=_read(said, "hello", Hello),
            end=_read(said, "end", End),
            manner=_read(said, "manner", Manner),
            disk_timeout_s=said["disk_timeout_s"],
            idle_s=said["idle_s"],
            connect_s=said.get("connect_s", CONNECT_S),  # a site of an older release does not say
            names_key=said.get("names_key", ""),
        )


@dataclass(frozen=True, slots=True)
class DigestJob:
    """Read a disk at rest and tell its root.

    ``subject`` names the journal that the worker inherits, as the copy named it, so that only what was not
    read back since it was written is read; empty: all is read, which is what an older release does.
    """

    ref: DiskRef
    chunk_size: int
    disk_timeout_s: float
    subject: dict[str, str] = field(default_factory=dict[str, str])

    def line(self) -> bytes:
        """Return the job as one line."""
        return json.dumps(sparse(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "DigestJob":
        """Read a line of `line`."""
        said = json.loads(line)
        ref, subject = _read(said, "ref", DiskRef), said.get("subject", {})
        return cls(ref, said["chunk_size"], said["disk_timeout_s"], subject)


@dataclass(frozen=True, slots=True)
class LookJob:
    """Find an object of a web server and tell its size and version."""

    url: str
    disk_timeout_s: float

    def line(self) -> bytes:
        """Return the job as one line."""
        return json.dumps(sparse(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "LookJob":
        """Read a line of `line`."""
        return cls(**json.loads(line))


def subject_of(copied: Copied, ref: DiskRef) -> dict[str, str]:
    """Return how the journal of a copy to ``ref`` says whose it is."""
    return {**asdict(copied), "identity": ref.identity}


def failure_line(error: errors.Error) -> dict[str, Any]:
    """Return what a worker tells about the error it ends with."""
    kind = next((name for name, kind in _KINDS.items() if isinstance(error, kind)), "Broken")
    return {
        "event": "failed",
        "kind": kind,
        "code": error.code,
        "text": error.text,
        "remedy": error.remedy,
        "field": error.field,
    }


def failure_from(said: dict[str, Any]) -> errors.Error:
    """Return the error that a worker told; the worker handles hostile bytes, so its words are only text."""
    kind = _KINDS.get(str(said.get("kind")), errors.Broken)
    code, text, remedy, at = (_plain(said.get(name, "")) for name in ("code", "text", "remedy", "field"))
    return kind(code or "transfer.worker.failed", text, remedy=remedy, field=at)


def _plain(value: object) -> str:
    return "".join(letter for letter in str(value)[:600] if letter.isprintable())


def known(said: Any, name: str, kind: type[Any]) -> Any:
    """Return what is said of a ``kind``; raise Refused for a field that this release does not know."""
    there: list[Any] = list(said) if isinstance(said, dict) else []  # pyright: ignore[reportUnknownArgumentType]
    strange = sorted({_plain(each) for each in there} - {each.name for each in fields(kind)})
    if strange:
        raise errors.Refused(
            "transfer.job.newer",
            f"The site asks for {name}.{strange[0]}, which this release does not know.",
            remedy="Update this end: it is older than its site.",
        )
    return said  # pyright: ignore[reportUnknownVariableType]


def _read(said: dict[str, Any], name: str, kind: type[T]) -> T:
    return kind(**known(said[name], name, kind))


def _ticket(job: dict[str, Any]) -> Ticket:
    said = job["ticket"]
    parts: dict[str, Any] = dict(known(said, "ticket", Ticket))
    images = tuple(DiskRef(**known(one, "published", DiskRef)) for one in job.get("published", ()))
    spans = parts.get("heat") or job.get("heat", ())
    heat = tuple(Heat(**known(one, "heat", Heat)) for one in spans)
    parts.update(way=Way(said["way"]), ref=_read(said, "ref", DiskRef), place=_read(said, "place", Place))
    parts.update(published=images, heat=heat, defers=job.get("defers", False))
    return Ticket(**parts)
