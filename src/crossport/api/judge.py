"""Ask the policies about a request, once, and log what they said."""

from typing import Any

import structlog
from fastapi import Request

from crossport import errors
from crossport.api.body import said
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.model.authorization import Decision, Principal, Question, Resource
from crossport.spi.authorize import Authorizer
from crossport.spi.clock import Clock

__all__ = ["Judge"]

OF_ANOTHER = frozenset({"token.create"})
"""Operations whose body says whose the thing is. Everywhere else a caller's things are of its tenant."""
SEVERAL_NAMES = frozenset({"vm"})
"""Kinds that a path may call by several names: a rule about one of them would not hold."""

LONGEST = 128
"""What of a name goes into the log: it comes from a body that nobody checked yet."""


class Judge:
    """Lets a request pass, or raises Refused."""

    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock
        self._log: Any = structlog.get_logger("crossport.authorize")

    async def judge(
        self, route: Route, caller: Caller, request: Request, clouds: tuple[str, ...] = ()
    ) -> None:
        """Return when the policies permit it; leave the decision in ``request.state.decision``.

        ``clouds`` are some that it touches, beside those that the request names.
        """
        told = await said(request) if route.body else {}
        resource = _resource(route, caller, request, told, clouds)
        question = Question(principal=_principal(caller), operation=route.operation, resource=resource)
        begun = self._clock.monotonic()
        decision = self._authorizer.decide(question)
        request.state.decision = decision
        self._log.info(
            "decision",
            request=request.state.id,
            operation=route.operation,
            allowed=decision.allowed,
            policies=decision.policies,
            token=caller.token,
            tenant=caller.tenant,
            of=resource.tenant[:LONGEST],
            clouds=[cloud[:LONGEST] for cloud in resource.clouds],
            micros=round((self._clock.monotonic() - begun) * 1e6),
        )
        if not decision.allowed:
            raise _refused(route, decision)


def _principal(caller: Caller) -> Principal:
    return Principal(
        token=caller.token,
        tenant=caller.tenant,
        rights=caller.rights,
        role=caller.role,
        subject=caller.subject.sub if caller.subject else "",
        issuer=caller.subject.issuer if caller.subject else "",
        clouds=caller.ceilings.clouds or None,
        vms=caller.ceilings.vms or None,
        runs=caller.ceilings.runs or None,
        projects=caller.ceilings.projects or None,
    )


def _resource(
    route: Route, caller: Caller, request: Request, told: dict[str, Any], known: tuple[str, ...]
) -> Resource:
    """Return what the request touches, by its path and its body; both are not checked yet."""
    kind, path = route.resource, request.path_params
    clouds = [*known, *(path.get(name) or told.get(name) for name in ("cloud", "source", "target"))]
    if kind == "cloud":
        clouds.append(told.get("name"))
    named = told.get("tenant") if route.operation in OF_ANOTHER else ""
    return Resource(
        kind=kind,
        id="" if kind in SEVERAL_NAMES else path.get(kind, ""),
        tenant=named if isinstance(named, str) and named else caller.tenant,
        clouds=tuple(sorted({cloud for cloud in clouds if isinstance(cloud, str) and cloud})),
        run=path.get("run", ""),
    )


def _refused(route: Route, decision: Decision) -> errors.Refused:
    if not decision.policies:
        return errors.Refused(
            "request.right.lacking",
            f"This token may not {route.action} ({route.resource}). {decision.reason}",
            field="Authorization",
            remedy="Use a token with this right; see `crossport token create --help`.",
        )
    policies = ", ".join(decision.policies)
    return errors.Refused(
        "request.policy.forbids",
        f"This token may not {route.action} ({route.resource}). {decision.reason} (Policy {policies}.)",
        field="Authorization",
        remedy="Ask for what is yours, or ask the site's operator, whose policies decide.",
    )
