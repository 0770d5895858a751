"""What every link between two sites promises, as tests.

Derive a class named ``Test…`` and give it the fixture ``pair``: two sites that are partners.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import pytest

from crossport import errors
from crossport.model.partner import Partner
from crossport.spi.partner import Lines, PartnerLink, PartnerOperations

__all__ = ["LinkedSite", "Pair", "PartnerLinkConformance"]


class LinkedSite(PartnerLink, PartnerOperations, Protocol):
    """One end of a link: it asks, and it answers."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The sites ``north`` and ``south``, partners of one another."""

    north: LinkedSite
    south: LinkedSite


class PartnerLinkConformance:
    """Passes for everything that connects two sites."""

    @pytest.fixture
    def pair(self) -> Pair:
        """Return two sites that have said nothing yet."""
        raise NotImplementedError("the implementation under test gives this fixture")

    async def test_an_answer_comes_from_the_partners_handler(self, pair: Pair) -> None:
        async def twice(partner: Partner, body: bytes) -> bytes:
            return partner.name.encode() + body * 2

        pair.south.answer("twice", twice)
        assert await pair.north.call("south", "twice", b'"a"') == b'north"a""a"'

    async def test_an_error_of_the_partner_arrives_whole(self, pair: Pair) -> None:
        async def refuse(partner: Partner, body: bytes) -> bytes:
            raise errors.Conflict("run.taken", f"{body.decode()} is taken.", field="run", remedy="Wait.")

        pair.south.answer("refuse", refuse)
        with pytest.raises(errors.Conflict, match="r1 is taken") as caught:
            await pair.north.call("south", "refuse", b"r1")
        assert (caught.value.code, caught.value.field, caught.value.remedy) == ("run.taken", "run", "Wait.")

    async def test_what_nobody_answers_is_said(self, pair: Pair) -> None:
        with pytest.raises(errors.NotFound) as caught:
            await pair.north.call("south", "unheard", b"{}")
        assert caught.value.code == "partner.operation.unknown"
        with pytest.raises(errors.NotFound) as caught:
            async with pair.north.stream("south", "unheard", b"{}"):
                pass
        assert caught.value.code == "partner.operation.unknown"

    async def test_a_site_that_is_no_partner_is_not_asked(self, pair: Pair) -> None:
        with pytest.raises(errors.NotFound) as caught:
            await pair.north.call("east", "twice", b"{}")
        assert caught.value.code == "partner.unknown"

    async def test_a_handler_has_a_name_of_its_own(self, pair: Pair) -> None:
        async def nothing(partner: Partner, body: bytes) -> bytes:
            return b""

        pair.south.answer("nothing", nothing)
        with pytest.raises(errors.Broken, match="answered already"):
            pair.south.answer("nothing", nothing)

    async def test_lines_go_both_ways_in_order(self, pair: Pair) -> None:
        async def echo(partner: Partner, opening: bytes, lines: Lines) -> None:
            await lines.send(partner.name.encode() + b" " + opening)
            for _ in range(3):
                await lines.send(await lines.receive() or b"")

        pair.south.converse("echo", echo)
        async with pair.north.stream("south", "echo", b"hello") as lines:
            assert await lines.receive() == b"north hello"
            for line in (b"one", b"", b"x" * (400 << 10)):
                await lines.send(line)
            assert [await lines.receive() for _ in range(2)] == [b"one", b""]
            assert await lines.receive() == b"x" * (400 << 10)
            assert await lines.receive() is None
            assert await lines.receive() is None

    async def test_a_conversation_that_fails_says_why(self, pair: Pair) -> None:
        async def fail(partner: Partner, opening: bytes, lines: Lines) -> None:
            await lines.send(b"first")
            raise errors.Refused("image.unsealed", "Not this.", remedy="Another.")

        pair.south.converse("fail", fail)
        async with pair.north.stream("south", "fail", b"") as lines:
            assert await lines.receive() == b"first"
            with pytest.raises(errors.Refused, match="Not this"):
                await lines.receive()

    async def test_a_handler_that_is_left_alone_ends_in_its_own_time(self, pair: Pair) -> None:
        heard = asyncio.Queue[str]()

        async def listen(partner: Partner, opening: bytes, lines: Lines) -> None:
            await lines.send(b"ready")
            with pytest.raises(errors.Unavailable) as caught:
                await lines.receive()
            await asyncio.sleep(0)
            heard.put_nowait(caught.value.code)

        pair.south.converse("listen", listen)
        async with pair.north.stream("south", "listen", b"") as lines:
            assert await lines.receive() == b"ready"
        async with asyncio.timeout(30):
            assert await heard.get() == "partner.away"
