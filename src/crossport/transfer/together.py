"""Entering several contexts at once, where each of them takes a while to come about."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

__all__ = ["entered"]

A = TypeVar("A")
B = TypeVar("B")


@asynccontextmanager
async def entered(
    one: AbstractAsyncContextManager[A], other: AbstractAsyncContextManager[B]
) -> AsyncGenerator[tuple[A, B]]:
    """Enter two contexts side by side and return what both give; on leaving both are left.

    When entering one fails the other is left, or its entering cancelled, before that failure is raised.
    """
    async with contextlib.AsyncExitStack() as stack:
        tasks = (
            asyncio.ensure_future(stack.enter_async_context(one)),
            asyncio.ensure_future(stack.enter_async_context(other)),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure
        yield tasks[0].result(), tasks[1].result()
