"""All use of DBOS, so that it can be exchanged: it keeps the outcomes of steps and hands work out again.

DBOS keeps one instance per process, and so there is one Library per process. Its workflow has one
argument, the run's id, and returns nothing; the outcome of a step is a small JSON object of ours. It
recovers nothing by itself here: every start has a new executor name, and ``resume`` is called for the
runs of nodes that are known to be dead.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID, StepOptions
from dbos import error as refusal

from crossport import errors
from crossport.engine.run_rows import lost
from crossport.engine.serializer import JsonSerializer, refuse_pickle
from crossport.model.record import record

__all__ = ["KeptStep", "Library"]

T = TypeVar("T")

TABLES_VERSION = "1"
"""Of the meaning of what is kept. Runs of another one are left alone, so it changes only with care."""
THREAD_COUNT = 16
POOL_SIZE = 8


@record()
class KeptStep:
    """A finished step: its position and its outcome."""

    number: int
    name: str
    outcome: Any


class Library:
    """The one DBOS instance of this process. Launch it on the event loop on which runs shall execute."""

    def __init__(self, execute: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._execute = execute
        self._workflow: Any = None

    def launch(self, url: str, executor: str, idle_s: float) -> None:
        """Open the library's tables at ``url`` under the name ``executor``, which was never used before.

        PostgreSQL ends a transaction in which nothing happens for ``idle_s``: its process hangs.
        """
        refuse_pickle()
        DBOS(config={**_config(url, executor), "sys_db_idle_transaction_timeout_sec": idle_s})

        async def run(run_id: str) -> None:
            await self._execute(run_id)

        self._workflow = DBOS.workflow(name="crossport.run", max_recovery_attempts=None)(run)
        DBOS.launch()

    async def close(self) -> None:
        """Forget the instance. Executions must have ended."""
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        # The library lent its threads to this event loop, and they ended with it.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))

    async def start(self, run: str) -> None:
        """Begin to execute ``run`` here and now; not twice."""

        async def begin() -> None:
            with SetWorkflowID(run):
                await DBOS.start_workflow_async(self._workflow, run)

        await _outside(begin())

    async def step(self, name: str, body: Callable[[], Awaitable[Any]]) -> Any:
        """Return the outcome of the step at this position, from ``body`` or as it was kept.

        Raise Refused ``engine.epoch.lost`` if another execution has the run, Broken ``engine.step.order``
        if another step was kept here, Refused ``engine.row.refused`` if it was not we who wrote it.
        """

        async def call() -> Any:
            return await body()

        try:
            return await DBOS.run_step_async(StepOptions(name=name), call)
        except refusal.DBOSUnexpectedStepError as error:
            raise errors.Broken(
                "engine.step.order",
                f"The workflow came to step {name} where it did something else before.",
                remedy="An upgrade probably changed it: finish the run with the version that began it.",
            ) from error
        except (refusal.DBOSWorkflowConflictIDError, refusal.DBOSWorkflowCancelledError) as error:
            raise lost(DBOS.workflow_id or "") from error

    async def standing(self, runs: Iterable[str]) -> dict[str, str]:
        """Return the library's word on each run that it knows: PENDING, ENQUEUED, SUCCESS, ERROR, …."""
        found = await _outside(
            DBOS.list_workflows_async(workflow_ids=list(runs), load_input=False, load_output=False)
        )
        return {one.workflow_id: str(one.status) for one in found}

    async def resume(self, runs: Iterable[str]) -> None:
        """Let any node go on with ``runs``; executions that are under way lose them."""
        await _outside(DBOS.resume_workflows_async(list(runs)))

    async def steps(self, run: str) -> tuple[KeptStep, ...]:
        """Return what is kept of the run's steps, in their order."""
        found = await _outside(DBOS.list_workflow_steps_async(run))
        return tuple(
            KeptStep(number=one["function_id"], name=one["function_name"], outcome=one["output"])
            for one in found
        )

    async def forget(self, run: str) -> None:
        """Forget the run and its steps. Not an error when they are gone."""
        await _outside(DBOS.delete_workflow_async(run))

    async def rewind(self, run: str, number: int, *, halt: bool) -> None:
        """Forget the steps from ``number`` on of a run that has ended, and execute it again.

        ``halt``: the library does not know yet that it ended, because a process died in between.
        """
        if halt:
            await _outside(DBOS.cancel_workflow_async(run))
        await _outside(DBOS.rewind_workflow_async(run, start_step=number))


def _config(url: str, executor: str) -> DBOSConfig:
    return {
        "name": "crossport",
        "system_database_url": url,
        "application_version": TABLES_VERSION,
        "executor_id": executor,
        "serializer": JsonSerializer(),
        "log_level": "ERROR",
        "sys_db_pool_size": POOL_SIZE,
        "max_executor_threads": THREAD_COUNT,
        "use_listen_notify": False,
        # Nobody here waits for the library's messages: looking is free, and closing waits for it.
        "notification_listener_polling_interval_sec": 0.2,
        "scheduler_polling_interval_sec": 3600.0,
    }


async def _outside(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` outside of any run: within one, the library would take it for a step of that run."""
    return await asyncio.create_task(work, context=contextvars.Context())
