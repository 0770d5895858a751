"""Divide links among the copies that use them: equal shares for tenants, and no bit is left unused.

Pure: who calls it measures, and tells it what each copy could use.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Copy", "Link", "shares"]

K = TypeVar("K")
Link = tuple[str, str]
"""From one cloud to another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy under way. ``want_bps`` is what it could use, infinite when only its share holds it back."""

    id: str
    tenant: str
    run: str
    link: Link
    want_bps: float = math.inf


def shares(
    copies: Iterable[Copy], links: Mapping[Link, float], runs: Mapping[str, float]
) -> dict[str, float]:
    """Return the rate of each copy by its id; infinite where nothing bounds it.

    ``links`` and ``runs`` hold bounds in bits per second. On a link the tenants get equal shares, within a
    tenant its runs, within a run its copies; a share is never more than is wanted while somebody else wants
    it. What nobody wants is then divided too, so that each copy has room to become faster.
    """
    rates = dict[str, float]()
    for link, those in _grouped(copies, lambda copy: copy.link).items():
        tenants = _grouped(those, lambda copy: copy.tenant)
        wants = {tenant: _want(own, runs) for tenant, own in tenants.items()}
        for tenant, share in _filled(links.get(link, math.inf), wants).items():
            rates |= _within_tenant(tenants[tenant], share, runs)
        _give_away(those, links.get(link, math.inf), runs, rates)
    return rates


def _within_tenant(copies: list[Copy], share: float, runs: Mapping[str, float]) -> dict[str, float]:
    by_run = _grouped(copies, lambda copy: copy.run)
    wants = {run: _want(own, runs) for run, own in by_run.items()}
    rates = dict[str, float]()
    for run, part in _filled(share, wants).items():
        rates |= _filled(part, {copy.id: copy.want_bps for copy in by_run[run]})
    return rates


def _want(copies: list[Copy], runs: Mapping[str, float]) -> float:
    by_run = _grouped(copies, lambda copy: copy.run)
    return sum(
        min(sum(copy.want_bps for copy in own), runs.get(run, math.inf)) for run, own in by_run.items()
    )


def _filled(size: float, wants: Mapping[str, float]) -> dict[str, float]:
    """Divide ``size`` equally, but give nobody more than wanted; the rest is divided among the others."""
    given = dict[str, float]()
    for name, want in sorted(wants.items(), key=lambda each: each[1]):
        equal = size / (len(wants) - len(given))
        given[name] = min(want, equal)
        size -= given[name] if math.isfinite(given[name]) else 0.0
    return given


def _give_away(copies: list[Copy], bound: float, runs: Mapping[str, float], rates: dict[str, float]) -> None:
    """Divide what is left of the link, and of each run's bound, on top of what was wanted."""
    rest = _left(bound, sum(rates[copy.id] for copy in copies)) / len(copies)
    for run, own in _grouped(copies, lambda copy: copy.run).items():
        left = _left(runs.get(run, math.inf), sum(rates[copy.id] for copy in own)) / len(own)
        for copy in own:
            rates[copy.id] += min(rest, left)


def _left(bound: float, used: float) -> float:
    return max(bound - used, 0.0) if math.isfinite(used) else 0.0


def _grouped(copies: Iterable[Copy], key: Callable[[Copy], K]) -> dict[K, list[Copy]]:
    groups = dict[K, list[Copy]]()
    for copy in copies:
        groups.setdefault(key(copy), []).append(copy)
    return groups
