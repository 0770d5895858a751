"""What of a job is the partner's to say, and the job that this site's own worker gets.

The partner has the mover: it says how large the disk is, in which chunks it is copied, between which
certificates, and who dials. The disk, the place, the words on the ticket, how long a disk's server is waited
for and the key of what is received are this site's.
"""

import math
import ssl
from dataclasses import asdict, dataclass, replace

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import Heat, Ticket, Way
from crossport.transfer import peer_address
from crossport.transfer.frame import LEAST_VERSION, MAX_CHUNK, MAX_CONNECTIONS, Hello
from crossport.transfer.job import End, Job
from crossport.transfer.manner import Manner
from crossport.transfer.partner.grant import Given

__all__ = ["Bounds", "judged"]

_CERTIFICATE = 16 << 10
_LEAST_CHUNK = 4 << 10
_KEY = 32


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long this site's workers wait, in seconds, whatever a partner says."""

    disk_timeout_s: float = 60.0
    idle_s: float = 60.0
    connect_s: float = 30.0
    patience_s: float = 600.0


def judged(line: bytes, given: Given, names_key: bytes, bounds: Bounds) -> Job:
    """Return the job of this site's worker for the ``given`` ticket, as the partner's ``line`` proposes it.

    ``names_key`` is that of what is received here. Raise Refused for what the ticket does not allow, Broken
    for what is no job.
    """
    job = _read(line)
    _check_subject(job.hello, given)
    ticket, hello = given.ticket, job.hello
    if ticket.way is Way.WRITE:
        own_key = names_key.hex()
    else:
        own_key = _key(job.names_key)
        ticket = replace(ticket, heat=_heat(job.ticket.heat, ticket.ref.size), defers=job.ticket.defers)
    return Job(
        ticket=ticket,
        hello=Hello(
            max(hello.least, LEAST_VERSION),
            *(ticket.tenant, ticket.run, ticket.artifact, ticket.epoch),
            *(hello.size, hello.chunk_size),
        ),
        end=_end(job.end, ticket.place.address),
        manner=Manner(
            connections=min(max(job.manner.connections, 1), MAX_CONNECTIONS),
            patience_s=_within(job.manner.patience_s, bounds.patience_s),
            damage_limit=min(max(job.manner.damage_limit, 0), 100),
        ),
        disk_timeout_s=bounds.disk_timeout_s,
        idle_s=_within(job.idle_s, bounds.idle_s),
        connect_s=_within(job.connect_s, bounds.connect_s),
        names_key=own_key,
        spoken=(given.tenant, given.run),
    )


def _read(line: bytes) -> Job:
    try:
        job = Job.of(line)
        return replace(
            job,
            ticket=codec.from_plain(asdict(job.ticket), Ticket),
            hello=codec.from_plain(asdict(job.hello), Hello),
            end=codec.from_plain(asdict(job.end), End),
            manner=codec.from_plain(asdict(job.manner), Manner),
            idle_s=float(job.idle_s),
            connect_s=float(job.connect_s),
            names_key=str(job.names_key),
        )
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
        RecursionError,
        errors.Invalid,
    ) as error:
        raise errors.Broken(
            "partner.job.malformed", "The partner sent what is no job.", remedy=errors.SAME_RELEASE
        ) from error


def _check_subject(hello: Hello, given: Given) -> None:
    ticket = given.ticket
    said = (hello.tenant, hello.run, hello.artifact, hello.epoch)
    if said != (given.tenant, given.run, ticket.artifact, ticket.epoch):
        raise errors.Refused(
            "transfer.ticket.foreign",
            f"Ticket {ticket.id} is not for the copy that the job is of.",
            remedy="Begin the run anew.",
        )
    whole = hello.size == ticket.ref.size if ticket.way is Way.READ else hello.size <= ticket.ref.size
    if not whole or hello.size < 0 or not _LEAST_CHUNK <= hello.chunk_size <= MAX_CHUNK:
        raise errors.Refused(
            "transfer.ticket.foreign",
            f"Ticket {ticket.id} is for {ticket.ref.size} bytes, not for {hello.size} in chunks of "
            f"{hello.chunk_size}.",
            remedy="Begin the run anew.",
        )


def _end(end: End, own: str) -> End:
    """Return whom the worker talks to: it listens where this site says, and dials what may be dialled."""
    if len(end.peer) > _CERTIFICATE or end.peer.count("-----BEGIN") != 1:
        raise _no_certificate()
    try:
        peer = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(end.peer.strip()))
    except ValueError as error:
        raise _no_certificate() from error
    if end.port == 0:
        return End(peer, own, 0)
    peer_address.check(end.address, end.port, own)
    return End(peer, end.address, end.port)


def _no_certificate() -> errors.Broken:
    return errors.Broken(
        "partner.job.malformed", "The partner told no certificate.", remedy=errors.SAME_RELEASE
    )


def _key(told: str) -> str:
    try:
        key = bytes.fromhex(told)
    except ValueError:
        key = b"?"
    if len(key) not in {0, _KEY}:
        raise errors.Broken(
            "partner.job.malformed", "The partner told no key of names.", remedy=errors.SAME_RELEASE
        )
    return key.hex()


def _heat(told: tuple[Heat, ...], size: int) -> tuple[Heat, ...]:
    if any(one.start < 0 or one.size <= 0 or one.start + one.size > size or one.degree < 0 for one in told):
        raise errors.Broken(
            "partner.job.malformed", "The partner told heat beyond the disk.", remedy=errors.SAME_RELEASE
        )
    return told


def _within(seconds: float, most_s: float) -> float:
    return min(max(seconds, 1.0), most_s) if math.isfinite(seconds) else most_s
