"""Somebody outside both clouds, in a process of their own, who asks guests and notes when they answered.

``python -m crossport.cli.demo.outside ask`` reads requests, one JSON object a line, and answers each with a
line; it ends with its input. ``… watch`` reads one URL, asks it twenty times a second, and when its input
ends prints when the first and the last answer came (monotonic seconds, 0 for never) and how many came.

Where networks are enforced it is started inside the namespace in which the clouds meet, and gives up root.
"""

import codecs
import http.client
import json
import os
import select
import socket
import sys
import time
import urllib.parse
from dataclasses import asdict
from typing import Any, TextIO

from crossport import errors
from crossport.testing.guest import client

__all__ = ["main"]

INTERVAL_S = 0.05
PATIENCE_S = 0.5
"""For one answer to the watcher; much longer than a guest needs, so that a missing one costs little."""
_NOBODY = 65534


def main(arguments: list[str], requests: TextIO, answers: TextIO) -> int:
    """Do what ``arguments`` say until the requests end."""
    # Looking up a host loads this, which may lie where only root reads.
    codecs.lookup("idna")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    if arguments == ["watch"]:
        _watch(requests, answers)
    else:
        for line in requests:
            _write(answers, _answer(json.loads(line)))
    return 0


def _write(answers: TextIO, answer: object) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``result``, or the ``code`` and ``text`` of the error."""
    try:
        return {"result": _result(request)}
    except errors.Error as error:
        return {"code": error.code, "text": error.text}


def _result(request: dict[str, Any]) -> object:
    url: str = request["url"]
    match request["ask"]:
        case "state":
            return asdict(client.state(url, timeout_s=request["timeout_s"]))
        case "store":
            return client.store(url, request["name"], request["text"].encode())
        case "fill":
            return client.fill(url, request["name"], request["mib"])
        case "fetch":
            return client.fetch(url, request["name"]).decode()
        case "well":
            return _well(*_host(url))
        case "accepts":
            return _accepts(url, request["port"])
        case other:
            raise errors.Invalid(
                "demo.outside.request", f"There is nothing like {other!r} to ask.", remedy=errors.REPORT
            )


def _accepts(url: str, port: int) -> str:
    """Return ``open``, ``refused`` (by the guest itself) or ``silent`` (what asks is dropped on the way)."""
    host, _ = _host(url)
    try:
        socket.create_connection((host, port), timeout=2.0).close()
    except TimeoutError:
        return "silent"
    except OSError:
        return "refused"
    return "open"


def _watch(requests: TextIO, answers: TextIO) -> None:
    url = requests.readline().strip()
    host, port = _host(url)
    first = last = 0.0
    count = 0
    _write(answers, {"watching": url})
    # Readable means: the input has ended, or somebody says that it is enough.
    while not select.select([requests], [], [], INTERVAL_S)[0]:
        if host and _well(host, port):
            last = time.monotonic()
            first = first or last
            count += 1
    _write(answers, {"first": first, "last": last, "count": count})


def _host(url: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _well(host: str, port: int) -> bool:
    link = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        link.request("GET", "/")
        answer = link.getresponse()
        answer.read(4096)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
    return answer.status == http.client.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout))
