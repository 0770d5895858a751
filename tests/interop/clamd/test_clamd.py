"""A real clamd with a signature of the test's own: what it answers is understood."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.interop.clamd.daemon import EICAR, SIGNATURE, running_clamd

from crossport import errors
from crossport.inspector import Clamd

KIB = 1 << 10


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


async def caught(clamd: Clamd, *texts: bytes) -> errors.Error:
    with pytest.raises(errors.Error) as told:
        await clamd.scan("0/tmp/a", sum(map(len, texts)), pieces(*texts))
    return told.value


async def test_malware_is_found_by_name_and_other_files_pass(tmp_path: Path):
    port = free_port()
    with running_clamd(tmp_path, f"TCPSocket {port}", "TCPAddr 127.0.0.1") as place:
        for clamd in (Clamd(str(place)), Clamd(f"127.0.0.1:{port}")):
            await clamd.ready()
            await clamd.scan("0/etc/hostname", 3, pieces(b"web"))
            found = await caught(clamd, EICAR[:20], EICAR[20:])
            assert found.code == "image.malware"
            assert SIGNATURE in found.text
            assert "0/tmp/a" in found.text
    with pytest.raises(errors.Unavailable):
        await Clamd(f"127.0.0.1:{port}").ready()


async def test_what_it_passes_over_for_its_size_does_not_pass(tmp_path: Path):
    limits = ("StreamMaxLength 64K", "MaxFileSize 16K", "AlertExceedsMax yes")
    with running_clamd(tmp_path, *limits) as place:
        clamd = Clamd(str(place))
        with pytest.raises(errors.Refused) as limit:
            await clamd.ready()
        assert (limit.value.code, limit.value.field) == ("image.scan.limit", "clamd_file_size")
        assert "StreamMaxLength 26214400" in limit.value.remedy
        await Clamd(str(place), 64 * KIB).ready()
        streamed = await caught(clamd, *[bytes(32 * KIB)] * 8)
        assert streamed.code in {"image.scan.left", "image.scan.away"}
        assert (await caught(clamd, bytes(32 * KIB))).code == "image.scan.left"
