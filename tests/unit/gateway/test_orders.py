"""Workers at a gateway do not stand in each other's way, whatever one is told or does."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.gateway.rig import Site, Workers, place
from tests.unit.gateway.test_control import REF

from crossport import errors
from crossport.transfer.job import DigestJob


async def test_a_worker_that_does_not_end_holds_up_no_other(site: Site):
    workers = Workers()
    may_end = workers.held[0] = asyncio.Event()
    one = await site.gateway(start=workers.start)
    began = asyncio.Event()

    async def hanging() -> None:
        async with site.hub.started("send", REF, place()):
            began.set()
            workers.all[0].says.put_nowait({"event": "done"})

    ending = asyncio.create_task(hanging())
    await began.wait()
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as other:
        workers.all[1].says.put_nowait({"event": "done"})
        await other.event("done")
        assert (await site.hub.gateway("acme", one.id)).jobs == 1
    assert not ending.done()
    may_end.set()
    async with asyncio.timeout(30):
        await ending


async def test_an_order_that_is_none_fails_alone(site: Site):
    workers = Workers()
    await site.gateway(start=workers.start)
    strange: Any = replace(REF, size="as large as you like")
    async with asyncio.timeout(30), site.hub.started("send", REF, place()) as sound:
        with pytest.raises(errors.Invalid):
            async with site.hub.started("send", strange, place()):
                pass
        workers.all[0].says.put_nowait({"event": "done"})
        await sound.event("done")


async def test_only_the_first_line_of_a_worker_is_judged_as_its_job(site: Site):
    workers = Workers()
    await site.gateway(start=workers.start)
    async with asyncio.timeout(30), site.hub.started("digest", REF, place()) as worker:
        await worker.give(DigestJob(REF, 1 << 18, 5.0).line())
        await worker.give(b"second\n")
        while len(workers.all[0].given) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
