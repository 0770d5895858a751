"""Packets as a tun device gives them, with segments that the kernel has not cut yet; and the loss of some.

A device that lets the kernel leave segmentation to it (TUN_F_TSO4) passes up to 64 KiB of one stream as one
packet, behind a header that says how large the segments would be (struct virtio_net_hdr). It is carried as it
is; only where a segment is lost, what is before and behind it goes on as two packets.
"""

import math
import random
import struct
from collections.abc import Iterator

__all__ = ["Losses", "cut", "segment_count"]

_HEADER = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
_TCP4 = 1
_ECN = 0x80
_FIN_PSH, _CWR = 0x09, 0x80


class Losses:
    """Which segments are lost: each with the same chance, the same ones for the same seed."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._kept = self._until_next()

    def among(self, count: int) -> list[int]:
        """Return which of the next ``count`` segments are lost."""
        lost, at = list[int](), 0
        while self._kept < count - at:
            at += int(self._kept) + 1
            lost.append(at - 1)
            self._kept = self._until_next()
        self._kept -= count - at
        return lost

    def _until_next(self) -> float:
        """How many segments pass before the next loss: drawn once, not for each of them."""
        if not self._share:
            return math.inf
        return math.floor(math.log(1 - self._random.random()) / math.log(1 - self._share))


def segment_count(packet: bytes) -> int:
    """Return how many packets this would be on a wire."""
    _, kind, _, size, _, _ = _HEADER.unpack_from(packet)
    if kind & ~_ECN != _TCP4:
        return 1
    return max(1, -(-(len(packet) - _payload(packet)) // size))


def cut(packet: bytes, lost: list[int]) -> Iterator[bytes]:
    """Return what is left of a packet without the segments ``lost``, which are in order."""
    if not lost:
        yield packet
        return
    start = 0
    for gap in [*lost, segment_count(packet)]:
        if gap > start:
            yield _part(packet, start, gap)
        start = gap + 1


def _payload(packet: bytes) -> int:
    """Return where the payload of a TCP packet begins."""
    tcp = _HEADER.size + (packet[_HEADER.size] & 15) * 4
    return tcp + (packet[tcp + 12] >> 4) * 4


def _part(packet: bytes, start: int, stop: int) -> bytes:
    """Return the segments from ``start`` up to ``stop`` as a packet of their own."""
    flags, kind, head_size, size, csum_start, csum_offset = _HEADER.unpack_from(packet)
    ip, payload = _HEADER.size, _payload(packet)
    tcp, count = ip + (packet[ip] & 15) * 4, segment_count(packet)
    body = packet[payload + start * size : payload + stop * size]
    head = bytearray(packet[:payload])
    one = len(body) <= size
    _HEADER.pack_into(
        head, 0, flags, 0 if one else kind, head_size, 0 if one else size, csum_start, csum_offset
    )
    _add(head, ">H", ip + 4, start)
    struct.pack_into(">HxxxxxxxxH", head, ip + 2, payload - ip + len(body), 0)
    struct.pack_into(">H", head, ip + 10, 0xFFFF - _sum(bytes(head[ip:tcp])))
    _add(head, ">I", tcp + 4, start * size)
    if stop < count:
        head[tcp + 13] &= ~_FIN_PSH
    if start:
        head[tcp + 13] &= ~_CWR
    # The kernel sums the rest when it cuts or takes the packet (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    length = struct.pack(">BBH", 0, packet[ip + 9], payload - tcp + len(body))
    struct.pack_into(">H", head, tcp + 16, _sum(bytes(head[ip + 12 : ip + 20]) + length))
    return bytes(head) + body


def _add(head: bytearray, form: str, at: int, number: int) -> None:
    """Add to a number in a header, which begins at 0 again after its last one."""
    (was,) = struct.unpack_from(form, head, at)
    struct.pack_into(form, head, at, (was + number) % (1 << 8 * struct.calcsize(form)))


def _sum(of: bytes) -> int:
    """Return the sum of ones' complements (RFC 1071)."""
    total = sum(struct.unpack(f">{len(of) // 2}H", of))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
