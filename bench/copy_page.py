"""What bench/transfer.py measured, as tables and as a section of the page of benchmarks."""

from typing import Any

from crossport.units import rate_text
from parts import PARTS
from tables import MEGA, link_text, seconds_text, table

__all__ = ["copy_page", "part_table"]

_CARRIED = 1448 / 1514
"""Share of an Ethernet packet that TCP with timestamps fills: the limit of the link counts the headers."""

METHOD = """
Two network namespaces joined by a link with a rate; the source is sparse, the target an empty file. All tools
take turns in the same session; medians are shown. A run ends when the target is synced to its disk, and only
counts if every byte is there. *CPU* and *memory* are of all processes of both ends, memory as the sum of
their peaks; *wire* counts both directions. A disk over 100 Mbit/s is an eighth of the others, and a tool that
takes longer than 20 s is run once.

* Crossport's time includes the start of its two confined workers; *copy alone* begins when they connect. Each
  chunk is verified on arrival, and both ends are known by certificates made for this copy.
* The peers' receiving end is started before their clock. None of them verifies; all but `nbdcopy, TLS` send
  in the clear. `qcow2 with zstd, nc` makes the file with `qemu-img convert -c`, carries it, and converts it
  back.
"""


def copy_page(found: dict[str, Any]) -> str:
    """Return the section for people."""
    parts = ["## Copying a disk\n", METHOD.strip()]
    if "rows" in found:
        parts += ["", tools_table(found["rows"]), "", _limits(found), "", _loads(found["machine"])]
    for part, (title, text, made) in PARTS.items():
        if part in found:
            parts += ["", f"### {title}\n", text.strip(), "", made(found[part]["rows"])]
            parts += ["", _loads(found[part]["machine"])]
    return "\n".join(parts) + "\n"


def part_table(part: str, rows: list[dict[str, Any]]) -> str:
    """Return what one part measured as a table."""
    return tools_table(rows) if part == "tools" else PARTS[part][2](rows)


def tools_table(rows: list[dict[str, Any]]) -> str:
    """Return the medians, each beside the time of nbdcopy over the same link."""
    nbdcopy = {_place(row): row["seconds"] for row in rows if row["tool"] == "nbdcopy"}
    header = ("tool", "time", "copy alone", "of nbdcopy", "wire, MB", "CPU", "memory, MB", "runs")
    lines = list[str]()
    for place in dict.fromkeys(_place(row) for row in rows):
        cells = [_cells(row, nbdcopy.get(place)) for row in rows if _place(row) == place]
        lines += [f"**{place[0]}, {link_text(place[1])}**", "", table(header, cells), ""]
    return "\n".join(lines).rstrip()


def _cells(row: dict[str, Any], nbdcopy_s: float | None) -> tuple[str, ...]:
    return (
        row["tool"],
        f"{row['seconds']:.2f} s",
        seconds_text(row["copy_seconds"]),
        f"{row['seconds'] / nbdcopy_s:.2f}" if nbdcopy_s else "-",
        f"{row['wire_bytes'] / MEGA:.1f}",
        seconds_text(row["cpu_seconds"]),
        f"{row['peak_rss_bytes'] / MEGA:.0f}",
        str(len(row["runs"])),
    )


def _limits(found: dict[str, Any]) -> str:
    """Say what the link and the disk could do at best."""
    said = list[str]()
    disk_bps = found["machine"]["disk_write_fdatasync_bps"]
    for row in found["rows"]:
        if row["copy_seconds"] is None:
            continue
        disk, place = row["disk"], _place(row)
        times = {"write and sync them at the measured rate": disk["data_bytes"] * 8 / disk_bps}
        if place[1]:
            bits = disk["zstd1_bytes"] * 8
            packed = f"{disk['zstd1_bytes'] / MEGA:.1f} MB"
            times[f"carry the {packed} to which `zstd -1` packs them, with their headers"] = bits / (
                place[1] * MEGA * _CARRIED
            )
        limits = ", ".join(f"{seconds:.2f} s to {what}" for what, seconds in times.items())
        share = row["copy_seconds"] / max(times.values())
        said.append(
            f"* {place[0]}, {link_text(place[1])}: {disk['data_bytes'] / MEGA:.1f} MB of data; {limits}. "
            f"Crossport's copy alone took {share:.2f} times the longest of these."
        )
    return "\n".join(["Physical limits:", "", *said])


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["data"], row["link_mbit"]


def _loads(machine: dict[str, Any]) -> str:
    return (
        f"Measured {machine['date']} on {machine['cores']} cores ({machine['cpu']}); the disk writes and "
        f"syncs {rate_text(machine['disk_write_fdatasync_bps'])}. Load {machine['load_before']:.1f} before, "
        f"{machine['load_after']:.1f} after."
    )
