"""What bench/security.py measured, as a table and as a section of the page of benchmarks."""

from typing import Any

from crossport.units import size_text
from tables import table

__all__ = ["security_page"]

GIGA = 1e9
METHOD = """
Packages hold bytes that do not compress, so that every one of them is written, digested and read. *Sealing* a
package converts its disks once more to see them as a guest does; a seal of disks that are streamed only adds
the last two rows, since their trees are built anyway. CPU is that of all processes.
"""


def security_page(found: dict[str, Any]) -> str:
    """Return the section for people."""
    machine = found["machine"]
    loads = f"load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after"
    rows = [*_packages(found["package"]), *_tls(found["tls"]), *_small(found)]
    parts = ["## What security costs\n", METHOD.strip(), "", table(("what", "figure", "goal"), rows), ""]
    parts.append(f"Measured {machine['date']} on the machine above; {loads}.")
    return "\n".join(parts) + "\n"


def _packages(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    size = found["size"] / GIGA
    return [
        (f"{what} a package of {size_text(found['size'])}", f"{found[name]['cpu_s'] / size:.1f} CPU s/GB", "")
        for name, what in (("export", "write"), ("seal", "seal"), ("verify", "verify"))
    ]


def _tls(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    size = found["size"] / GIGA
    added = (found["tls"]["cpu_s"] - found["plain"]["cpu_s"]) / size
    return [
        ("TLS 1.3, both ends, beside the same bytes without", f"{added:+.2f} CPU s/GB", ""),
        ("connection with mutual TLS, made and ended", f"{1000 * found['handshake']['wall_s']:.1f} ms", ""),
    ]


def _small(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    audit, verification, seal = found["audit"], found["verification"], found["seal"]
    written = audit["records"] / audit["wall_s"]
    return [
        ("whose a request is, by its token", f"{1000 * found['token_s']:.2f} ms", "< 1 ms"),
        ("whether the policies allow it", f"{1000 * found['decision_s']:.2f} ms", "< 1 ms"),
        (f"audit records, written by {audit['writers']} at once", f"{written:,.0f}/s", ""),
        (f"verify {verification['records']:,} audit records", f"{verification['wall_s']:.1f} s", ""),
        ("state and sign a seal of four disks", f"{1000 * seal['sign_s']:.2f} ms", ""),
        ("verify it", f"{1000 * seal['verify_s']:.2f} ms", ""),
    ]
