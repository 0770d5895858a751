"""Talk to a running small guest over HTTP: ask what it is, store bytes on its disk, read them back.

Every call is one request with a short time limit. A guest that does not answer, or not yet, is `Unavailable`.
"""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from crossport.errors import Broken, Unavailable

__all__ = ["state", "store", "fill", "fetch", "GuestState"]

TIMEOUT_S = 10.0
FILL_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class GuestState:
    """What the guest says of itself.

    ``uptime_s`` is its own clock; ``boots`` is counted on its disk; ``host_key`` is made anew for every new
    ``instance_id``; ``data`` maps each stored name to the SHA-256 of what the disk holds.
    ``longest_gap_s`` is the longest time its clock stood still between two heartbeats, which are 0.1 s apart.
    """

    uptime_s: float
    boot_id: str
    boots: int
    hostname: str
    instance_id: str
    firmware: str
    host_key: str
    cpus: int
    memory_kib: int
    longest_gap_s: float
    addresses: dict[str, tuple[str, ...]]
    macs: dict[str, str]
    disks: dict[str, int]
    keys: tuple[str, ...]
    data: dict[str, str]


def state(base_url: str, *, timeout_s: float = TIMEOUT_S) -> GuestState:
    """Return what the guest at ``base_url`` (``http://10.0.0.5``) says of itself.

    Raise `Unavailable` if it does not answer, `Broken` if what answers is not the small guest.
    """
    said = _json(_answer(f"{base_url}/cgi-bin/state", None, timeout_s))
    try:
        return GuestState(
            uptime_s=float(said["uptime"]),
            boot_id=said["boot_id"],
            boots=int(said["boots"]),
            hostname=said["hostname"],
            instance_id=said["instance_id"],
            firmware=said["firmware"],
            host_key=said["host_key"],
            cpus=int(said["cpus"]),
            memory_kib=int(said["memory_kib"]),
            longest_gap_s=said["heartbeat"]["longest_gap"] / 100,
            addresses={name: tuple(addresses) for name, addresses in said["addresses"].items()},
            macs=said["macs"],
            disks=said["disks"],
            keys=tuple(said["keys"]),
            data=said["data"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(
            "guest.answer.unreadable", f"What answers at {base_url} is not the small guest."
        ) from error


def store(base_url: str, name: str, body: bytes, *, timeout_s: float = TIMEOUT_S) -> str:
    """Keep ``body`` on the guest's disk under ``name`` (a-z, 0-9, -) and return its SHA-256 there.

    Durable on return; replaces what the name had.
    """
    answer = _answer(f"{base_url}/cgi-bin/store?name={quote(name)}", body, timeout_s)
    return str(_json(answer)["sha256"])


def fill(base_url: str, name: str, mib: int, *, timeout_s: float = FILL_TIMEOUT_S) -> str:
    """Let the guest write ``mib`` MiB of random data under ``name`` and return their SHA-256."""
    answer = _answer(f"{base_url}/cgi-bin/fill?name={quote(name)}&mib={mib}", b"", timeout_s)
    return str(_json(answer)["sha256"])


def fetch(base_url: str, name: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Return what is stored under ``name``. Raise `Broken` if the guest has no such name."""
    return _answer(f"{base_url}/cgi-bin/fetch?name={quote(name)}", None, timeout_s)


def _answer(url: str, body: bytes | None, timeout_s: float) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise Unavailable("guest.address.invalid", f"{url} is no web address.")
    request = urllib.request.Request(url, data=body, method="GET" if body is None else "POST")  # noqa: S310 - checked
    request.add_header("Content-Type", "application/octet-stream")
    # A proxy of the caller's environment knows nothing of the lab's addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode(errors="replace").strip()
        raise Broken("guest.request.refused", f"The guest refused {url}: {error.code} {said}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable("guest.answer.missing", f"The guest does not answer at {url}: {error}") from error


def _json(text: bytes) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(text))
    except ValueError as error:
        raise Broken("guest.answer.unreadable", f"The guest's answer is not JSON: {text[:200]!r}") from error
