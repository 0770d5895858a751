"""What bench/security.py measured, as tables and as a section of the page of benchmarks."""

import random
import statistics
from typing import Any

from crossport.units import size_text
from tables import MEGA, table

__all__ = ["security_page"]

GIGA = 1e9
GOAL_SHARE = 0.03
RESAMPLES = 10_000
"""Of the pairs of migrations, for the interval that the seal's cost lies in."""
METHOD = """
Packages hold bytes that do not compress, so that every one of them is written, digested and read. *Sealing* a
package converts its disks once more to see them as a guest does; a seal of disks that are streamed only adds
the last two rows, since their trees are built anyway. CPU is that of all processes. The *limit* is what the
machine takes for the one thing that cannot be left out: one SHA-256 over all bytes of a package, AES-256-GCM
over what TLS carries and back, the log's bytes at the rate of the disk, a SHA-256 for each record and node.
"""
MOVES = """
The same guest is migrated in turn by the site as it is and by one that neither seals nor checks a seal, which
only the bench can make; disks and the network between are as above. The guest's own boot is left out.
"""

Row = tuple[str, str, str, str, str]


def security_page(found: dict[str, Any]) -> str:
    """Return the section for people."""
    machine = found["machine"]
    loads = f"load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after"
    rows = [*_packages(found), *_tls(found), *_log(found["log"], machine), *_small(found)]
    header = ("what", "figure", "limit", "of limit", "goal")
    parts = ["## What security costs\n", METHOD.strip(), "", table(header, rows), ""]
    parts += [*_moves(found["moves"]), ""]
    parts.append(f"Measured {machine['date']} on the machine above; {loads}.")
    return "\n".join(parts) + "\n"


def _row(what: str, figure: float, limit: float, unit: str) -> Row:
    return (what, f"{figure:.2f} {unit}", f"{limit:.2f} {unit}", f"{figure / limit:.1f}", "")


def _packages(found: dict[str, Any]) -> list[Row]:
    package = found["package"]
    size = package["size"] / GIGA
    limit = found["limits"]["sha256_s"] / size
    return [
        _row(
            f"{what} a package of {size_text(package['size'])}",
            package[name]["cpu_s"] / size,
            limit,
            "CPU s/GB",
        )
        for name, what in (("export", "write"), ("seal", "seal"), ("verify", "verify"))
    ]


def _tls(found: dict[str, Any]) -> list[Row]:
    tls = found["tls"]
    size = tls["size"] / GIGA
    added = (tls["tls"]["cpu_s"] - tls["plain"]["cpu_s"]) / size
    what = "TLS 1.3, both ends, beside the same bytes without"
    handshake = f"{1000 * tls['handshake']['wall_s']:.1f} ms"
    return [
        _row(what, added, found["limits"]["aes_s"] / size, "CPU s/GB"),
        ("connection with mutual TLS, made and ended", handshake, "", "", ""),
    ]


def _log(found: dict[str, Any], machine: dict[str, Any]) -> list[Row]:
    write, verify, count = found["write"], found["verify"], found["records"]
    disk_s = write["database_bytes"] * 8 / machine["disk_write_fdatasync_bps"]
    memory = f"{write['peak_rss_bytes'] / MEGA:.0f} and {verify['peak_rss_bytes'] / MEGA:.0f} MB"
    sizes = f"{write['database_bytes'] / MEGA:.0f} and {verify['log_bytes'] / MEGA:.0f} MB"
    return [
        _row(f"write {count:,} audit records, {write['writers']} at once", write["wall_s"], disk_s, "s"),
        (f"that is, each second, {write['cpu_s']:.0f} s CPU", f"{count / write['wall_s']:,.0f}", "", "", ""),
        ("export them", f"{write['exported_s']:.1f} s", "", "", ""),
        _row("verify them against a signed head", verify["wall_s"], verify["hashes_s"], "s"),
        ("memory at most, writing and verifying", memory, "", "", ""),
        ("size, database and export", sizes, "", "", ""),
    ]


def _small(found: dict[str, Any]) -> list[Row]:
    audit, seal = found["audit"], found["seal"]
    written = audit["records"] / audit["wall_s"]
    both_s = found["token_s"] + found["decision_s"]
    rows = [
        ("whose a request is, by its token", f"{1000 * found['token_s']:.2f} ms", ""),
        ("whether the policies allow it", f"{1000 * found['decision_s']:.2f} ms", ""),
        ("**authorization of a request**, both", f"{1000 * both_s:.2f} ms", "< 1 ms"),
        (f"audit records, written by {audit['writers']} at once", f"{written:,.0f}/s", ""),
        ("state and sign a seal of four disks", f"{1000 * seal['sign_s']:.2f} ms", ""),
        ("verify it", f"{1000 * seal['verify_s']:.2f} ms", ""),
    ]
    return [(what, figure, "", "", goal) for what, figure, goal in rows]


def _moves(found: dict[str, Any]) -> list[str]:
    with_seal, without = found["median"]["sealed"], found["median"]["unsealed"]
    rows = [
        (what, f"{with_seal[name]:.2f} s", f"{without[name]:.2f} s", _more(with_seal[name], without[name]))
        for name, what in (
            ("work_s", "**wall time**"),
            ("copy_s", "the copy"),
            ("security_s", "security_setup"),
        )
    ]
    took_s = with_seal["seal_s"] + with_seal["admit_s"]
    share = took_s / (with_seal["work_s"] - took_s)
    parts = f"{with_seal['seal_s']:.3f} s and {with_seal['admit_s']:.3f} s"
    rows.append(("of it to seal, and to admit", parts, "-", f"**{share * 100:+.1f} %**"))
    link_s = with_seal["bytes_sent"] * 8 / found["link_bps"]
    spread = " to ".join(f"{pick(row['work_s'] for row in _all(found)):.2f}" for pick in (min, max))
    title = f"guest of {found['guest']}, median of {found['runs']}"
    low, mean, high = _cost(found)
    told = (
        f"Goal: at most {GOAL_SHARE * 100:.0f} % more for the seal. By the time that the site spent with it "
        f"it is {share * 100:.1f} %. From one migration to the next of the other kind the wall time grew by "
        f"{mean * 100:+.1f} % in the mean of {found['runs']} pairs, and by {low * 100:+.1f} to "
        f"{high * 100:+.1f} % with 95 % confidence (bootstrap): single migrations took {spread} s, so what "
        f"else went on is more than the seal. What was sent takes {link_s:.2f} s on the link, and all of it "
        f"{with_seal['work_s'] / link_s:.1f} times that."
    )
    header = (title, "sealed", "unsealed", "difference")
    return ["### A migration with the seal, and without\n", MOVES.strip(), "", table(header, rows), "", told]


def _cost(found: dict[str, Any]) -> tuple[float, float, float]:
    """Return the share of wall time that the seal adds: its 2.5 % quantile, its mean, its 97.5 % quantile.

    The percentile bootstrap over pairs (Efron and Tibshirani, 1993, chapter 13): the two migrations of a pair
    ran one after the other, so that a machine that became slower meanwhile is in both.
    """
    with_seal, without = ([row["work_s"] for row in found["rows"][way]] for way in ("sealed", "unsealed"))
    usual = statistics.mean(without)
    shares = [(one - other) / usual for one, other in zip(with_seal, without, strict=True)]
    draw = random.Random(1)  # noqa: S311 - the same figures give the same page
    means = sorted(statistics.mean(draw.choices(shares, k=len(shares))) for _ in range(RESAMPLES))
    return means[RESAMPLES // 40], statistics.mean(shares), means[-RESAMPLES // 40]


def _all(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for rows in found["rows"].values() for row in rows]


def _more(one: float, other: float) -> str:
    return f"{(one / other - 1) * 100:+.1f} %" if other > 0.05 else "-"
