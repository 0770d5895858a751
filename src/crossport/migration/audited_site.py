"""One end of a migration whose every call is in the audit log: what was asked of it, and what it answered."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from crossport.audit.recorded import recorded
from crossport.model.audit import AuditEntry
from crossport.model.permit import Statement
from crossport.model.run import Act
from crossport.model.vm import VM
from crossport.spi.audit import Audit
from crossport.spi.site import Site

__all__ = ["LOOKS", "audited"]

LOOKS = frozenset({"describe", "check"})
"""The calls that change nothing and decide nothing."""


def audited(site: Site, audit: Audit, tenant: str, *, partner: str = "") -> Site:
    """Return ``site``, with intent and outcome of every call that may change something in ``audit``.

    Who does it is the run that the call belongs to, or the ``partner`` that executes that run.

    A call that the promise of a site gets later is told, too. No argument is told but whose run it is, and
    which cloud and VM it is about: the others hold references and secrets.
    """
    return cast("Site", _Audited(site, audit, tenant, partner))


class _Audited:
    def __init__(self, site: Site, audit: Audit, tenant: str, partner: str) -> None:
        self.name = site.name
        self._site = site
        self._audit = audit
        self._tenant = tenant
        self._partner = partner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._site, name)
        if name in LOOKS or not inspect.iscoroutinefunction(call):
            return call
        return self._told(name, call)

    def _told(self, name: str, call: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        signature = inspect.signature(call)

        @functools.wraps(call)
        async def told(*args: Any, **kwargs: Any) -> object:
            given = signature.bind(*args, **kwargs).arguments
            async with recorded(self._audit, self._entry(name, given)) as facts:
                answer = await call(*args, **kwargs)
                facts.update(_stated(answer))
            return answer

        return told

    def _entry(self, name: str, given: dict[str, Any]) -> AuditEntry:
        act = given.get("act")
        run, facts = "", dict[str, str]()
        if isinstance(act, Act):
            run, facts = act.run, {"step": act.step, "epoch": str(act.epoch)}
        if isinstance(other := given.get("other"), Statement):
            facts["other"] = other.kind
        vm = given.get("vm_id") or given.get("vm") or ""
        vm = vm.id if isinstance(vm, VM) else vm
        subject = "/".join(part for part in (self.name, given.get("cloud", ""), vm) if part)
        return AuditEntry(
            action=f"site.{name.replace('_', '-')}",
            actor=f"partner {self._partner}" if self._partner else f"run {run}",
            tenant=self._tenant,
            subject=subject,
            run=run,
            facts=facts,
        )


def _stated(answer: object) -> dict[str, str]:
    """Return what an end states with its answer."""
    parts = cast("tuple[object, ...]", answer) if isinstance(answer, tuple) else (answer,)
    stated = [each.kind.value for each in parts if isinstance(each, Statement)]
    return {"stated": ", ".join(stated)} if stated else {}
