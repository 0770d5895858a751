"""Every service that takes disks in order passes one suite: one in memory, and a web server by PUT."""

from collections.abc import Generator

import pytest
from tests.unit.transfer.web import Web, web

from crossport.spi.block import StreamWriter
from crossport.testing.conformance.stream import StreamConformance, StreamSeat
from crossport.testing.memory_stream import MemoryService
from crossport.transfer.http_upload import HttpUpload


class MemorySeat:
    def __init__(self) -> None:
        self._service = MemoryService()

    def begin(self, size: int) -> StreamWriter:
        return self._service.begin(size)

    def kept(self) -> list[bytes]:
        return self._service.kept

    def hold_up(self) -> None:
        self._service.held_up.clear()


class WebSeat:
    def __init__(self, served: Web) -> None:
        self._served = served

    def begin(self, size: int) -> StreamWriter:
        egress = self._served.egress(f"http://127.0.0.1:{self._served.port}")
        return HttpUpload(self._served.url, size, egress, None, 10)

    def kept(self) -> list[bytes]:
        return self._served.uploads.kept

    def hold_up(self) -> None:
        self._served.uploads.going.clear()


class TestMemoryStream(StreamConformance):
    @pytest.fixture
    def service(self) -> StreamSeat:
        return MemorySeat()


class TestHttpUpload(StreamConformance):
    @pytest.fixture
    def service(self) -> Generator[StreamSeat]:
        with web(b"") as served:
            yield WebSeat(served)
            served.uploads.going.set()
