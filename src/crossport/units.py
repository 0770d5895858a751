"""Sizes and rates in words: constants in bytes, and texts that people read.

A size is always a whole number of bytes, a time is seconds as a float, a rate is bits per second.
"""

__all__ = ["GIB", "KIB", "MIB", "SECTOR", "TIB", "rate_text", "seconds_text", "size_text"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
SECTOR = 512


def size_text(size: int) -> str:
    """Return ``size`` bytes as people write it: ``56 MiB``, ``1.5 GiB``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} B"


def rate_text(rate_bps: float) -> str:
    """Return a rate in bits per second as ``940 Mbit/s``."""
    for unit, name in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if rate_bps >= unit:
            return f"{rate_bps / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{rate_bps:.0f} bit/s"


def seconds_text(seconds: float) -> str:
    """Return a duration as ``0.4 s``, ``2 min 5 s`` or ``1 h 3 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
