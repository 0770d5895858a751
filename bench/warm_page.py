"""What bench/warm.py measured, as a table and as a section of the page of benchmarks."""

from typing import Any

from tables import MEGA, table

__all__ = ["warm_page", "warm_table"]

GOAL = 1.2
METHOD = """
Two embedded clouds as above, and a guest on which somebody stores 64 KiB five times a second. Somebody
between the clouds asks it twenty times a second: the *outage* lies between its last answer at the source and
its first one at the target. It is compared with that of the same guest when it is shut down and started again
where it is. `rest` compares the stopped source with the copy, which was read as it lies there, while that
starts; `repair` compares before it starts; `stream` does neither. One good answer ends the health check.
"""


def warm_page(found: dict[str, Any]) -> str:
    """Return the section for people."""
    machine = found["machine"]
    loads = f"load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after"
    parts = ["## The outage of a warm migration\n", METHOD.strip(), "", warm_table(found), ""]
    parts.append(f"Measured {machine['date']} on the machine above; {loads}.")
    return "\n".join(parts) + "\n"


def warm_table(found: dict[str, Any]) -> str:
    """Return the medians, each beside that of shutdown and boot; goal 1.2."""
    base = found["outage_s"]["restart"]
    rows = [_row(found, way, seconds, base) for way, seconds in found["outage_s"].items()]
    header = (
        f"guest of {found['guest']}",
        "outage",
        "of restart",
        "last sync",
        "comparison",
        "verify",
        "runs",
    )
    return table(header, rows)


def _row(found: dict[str, Any], way: str, seconds: float, base: float) -> tuple[str, ...]:
    rounds = [one for one in found["rounds"] if one["way"] == way]
    last = rounds[len(rounds) // 2]
    syncs = {one["what"]: one for one in last.get("syncs", ())}
    phases: dict[str, float] = last.get("phases", {})
    goal = f" (goal {GOAL})" if way != "restart" else ""
    return (
        "shutdown and boot" if way == "restart" else way,
        f"{seconds:.1f} s",
        f"{seconds / base:.2f}{goal}",
        _sync(syncs.get("last")),
        _sync(syncs.get("comparison")),
        f"{phases['security_setup']:.1f} s" if phases else "-",
        str(len(rounds)),
    )


def _sync(sync: dict[str, Any] | None) -> str:
    return f"{sync['seconds']:.1f} s, {sync['read'] / MEGA:.1f} MB read" if sync else "-"
