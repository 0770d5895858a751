"""Ask OpenStack's format inspector too, because two inspectors rarely miss the same thing.

It reads the stream; it is given the head, where every format it knows keeps what it looks at, and the tail,
where a streamed VMDK has its footer. What it passes is not thereby safe: a text descriptor padded with
zeros passes.
"""

import struct
from collections.abc import Iterator

from oslo_utils.imageutils import format_inspector

from crossport.convert.findings import finding
from crossport.convert.inspection import Format
from crossport.convert.reader import Reader
from crossport.model.finding import Finding
from crossport.units import KIB, MIB

__all__ = ["second_opinion"]

_HEAD = 8 * MIB
_TAIL = 64 * KIB
_STEP = 64 * KIB
_NAMES = {
    Format.QCOW2: "qcow2",
    Format.VMDK: "vmdk",
    Format.VMDK_STREAM: "vmdk",
    Format.VHD: "vhd",
    Format.VHDX: "vhdx",
    Format.VDI: "vdi",
}


def second_opinion(reader: Reader, kind: Format) -> Iterator[Finding]:
    """Yield ``image.format.second-opinion`` if the other inspector refuses the image as a ``kind``."""
    found = format_inspector.get_inspector(_NAMES[kind]) if kind in _NAMES else None
    if found is None:
        return
    try:
        inspector = found()
        for start, end in _spans(reader.size):
            inspector.eat_chunk(reader.read_at(start, end - start))
        inspector.finish()
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reason = "; ".join(f"{name}: {failure}" for name, failure in error.failures.items())
        yield finding("image.format.second-opinion", reason=reason)
    except (
        format_inspector.ImageFormatError,
        struct.error,
        ValueError,
        LookupError,
        ArithmeticError,
    ) as error:
        yield finding("image.format.second-opinion", reason=str(error))


def _spans(size: int) -> Iterator[tuple[int, int]]:
    head = min(size, _HEAD)
    for start in range(0, head, _STEP):
        yield start, min(start + _STEP, head)
    if size > head:
        yield max(head, size - _TAIL), size
