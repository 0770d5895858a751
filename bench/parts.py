"""What bench/transfer.py measured beside comparing tools: a title, a text and a table for each part."""

from collections.abc import Callable
from typing import Any

from tables import MEGA, link_text, seconds_text, table

__all__ = ["PARTS"]


def _links_table(rows: list[dict[str, Any]]) -> str:
    header = ("link, round trip, loss", "tool", "time", "copy alone", "carried, Mbit/s", "of the link")
    return table((*header, "wire, MB"), (_links_cells(row) for row in rows))


def _links_cells(row: dict[str, Any]) -> tuple[str, ...]:
    carried = row["wire_bytes"] * 8 / MEGA / (row["copy_seconds"] or row["seconds"])
    return (
        f"{link_text(row['link_mbit'])}, {row['round_trip_ms']} ms, {row['loss'] * 100:g} %",
        row["tool"],
        f"{row['seconds']:.2f} s",
        seconds_text(row["copy_seconds"]),
        f"{carried:.0f}",
        f"{carried / row['link_mbit']:.2f}",
        f"{row['wire_bytes'] / MEGA:.1f}",
    )


def _change_table(rows: list[dict[str, Any]]) -> str:
    header = ("data, change of the link", "90 % of the new rate after", "mean from 2 s on, Mbit/s")
    cells = (
        (
            f"{row['data']}, {row['before_mbit']} to {row['link_mbit']} Mbit/s",
            "not reached" if row["reached_s"] is None else f"{row['reached_s']:.1f} s",
            f"{row['then_mbit']:.0f}",
        )
        for row in rows
    )
    return table(header, cells)


def _delta_table(rows: list[dict[str, Any]]) -> str:
    header = ("data, changed", "bytes changed, MB", "time", "copy alone", "wire, MB")
    return table((*header, "first: time", "wire, MB"), (_delta_cells(row) for row in rows))


def _delta_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['data']}, {row['pattern']}",
        f"{row['changed_bytes'] / MEGA:.1f}",
        f"{row['seconds']:.2f} s",
        f"{row['copy_seconds']:.2f} s",
        f"{row['wire_bytes'] / MEGA:.1f}",
        f"{row['whole']['seconds']:.2f} s",
        f"{row['whole']['wire_bytes'] / MEGA:.1f}",
    )


def _resume_table(rows: list[dict[str, Any]]) -> str:
    header = ("data, killed", "at", "written before, MB", "sent again, MB")
    return table((*header, "first new byte after", "time of the rest"), (_resume_cells(row) for row in rows))


def _resume_cells(row: dict[str, Any]) -> tuple[str, ...]:
    killed = {"send": "the sender", "receive": "the receiver"}[row["killed"]]
    return (
        f"{row['data']}, {killed}",
        f"{row['at_percent']} %",
        f"{row['before_bytes'] / MEGA:.1f}",
        f"{row['again_bytes'] / MEGA:.1f}",
        seconds_text(row["first_byte_s"]),
        f"{row['seconds']:.2f} s",
    )


def _second_table(rows: list[dict[str, Any]]) -> str:
    header = ("data", "lacking, MB", "packed, MB", "wire, MB", "wire of packed", "time")
    return table(header, (_second_cells(row) for row in rows))


def _second_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['data']}, {row['what']}",
        f"{row['lacking_bytes'] / MEGA:.1f}",
        f"{row['lacking_packed_bytes'] / MEGA:.1f}",
        f"{row['wire_bytes'] / MEGA:.1f}",
        f"{row['wire_bytes'] / row['lacking_packed_bytes']:.2f}",
        f"{row['seconds']:.2f} s",
    )


def _many_table(rows: list[dict[str, Any]]) -> str:
    header = ("disks", "time", "CPU", "all workers, MB", "starter after a tenth, MB", "at the end, MB")
    return table((*header, "one disk: fastest, median, slowest"), (_many_cells(row) for row in rows))


def _many_cells(row: dict[str, Any]) -> tuple[str, ...]:
    early, late = row["own_rss_bytes"]
    return (
        row["data"],
        f"{row['seconds']:.1f} s",
        seconds_text(row["cpu_seconds"]),
        f"{row['peak_rss_bytes'] / MEGA:.0f}",
        f"{early / MEGA:.1f}",
        f"{late / MEGA:.1f}",
        f"{row['fastest_s']:.1f}, {row['median_s']:.1f}, {row['slowest_s']:.1f} s",
    )


PARTS: dict[str, tuple[str, str, Callable[[list[dict[str, Any]]], str]]] = {
    "links": (
        "Over long links that lose packets",
        """
What cannot be compressed, over links whose packets are kept for half the round trip and lost with the same
chance both ways, by a process between the two ends. *TCP* is what plain streams carry in three seconds, their
start included. The congestion control is that of the system, BBR.""",
        _links_table,
    ),
    "change": (
        "Over a link that changes its rate",
        """
The rate changes while a disk is copied. A rate counts as reached when half a second carries nine tenths of
it.""",
        _change_table,
    ),
    "delta": (
        "Copying again after a change",
        """
Of the data 1 % was overwritten. Nobody tracked what changed: the source is read whole and compared chunk by
chunk with what the target's journal holds; a chunk has 256 KiB and is sent whole.""",
        _delta_table,
    ),
    "resume": (
        "Going on after a kill",
        """
A worker was ended by SIGKILL when so much of the data was written, and the copy begun again. *Sent again* is
what had been written already and was written once more. The first new byte is timed from the beginning of the
second copy, the start of its workers included; it is looked for four times a second.""",
        _resume_table,
    ),
    "second": (
        "VMs of the same base",
        """
Each is a migration of its own, to an empty target. *Lacking* are blocks of 4 KiB with data that no disk
before had, packed by zstd as one stream. The four begin with nothing there; each has a name of its own.""",
        _second_table,
    ),
    "many": (
        "Many disks",
        """
Small disks over one link of 1 Gbit/s, each copied by two workers of its own.""",
        _many_table,
    ),
}
