"""Join a cloud to the ``wan`` of its home, the only way between clouds, and say there where its guests are.

The ``wan`` is a namespace that routes. Each cloud has one link to it, with a rate when asked. The gateways'
seats are routed for as long as the cloud is joined; a guest's address only while its port is open, one route
per address. So an address that moves with its VM leads to the cloud whose port was opened last, and two
clouds may have networks with the same addresses.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from crossport import errors
from crossport.clouds.local.network import kernel
from crossport.clouds.local.network.device import Device, devices
from crossport.clouds.local.network.layout import Layout

__all__ = ["DEVICE", "join", "leave", "publish", "withdraw"]

DEVICE = "wan0"
_IPv4 = ipaddress.IPv4Address


async def join(layout: Layout, rate_bps: int) -> None:
    """Link the cloud's router to the ``wan``, both made where missing. ``rate_bps`` 0 means no limit.

    Raise Conflict ``cloud.wan.slot_taken`` when another cloud of the home has the same addresses.
    """
    async with kernel.locked(layout.locks[1]):
        await kernel.make_namespace(layout.wan)
        await kernel.set_switches({layout.wan: kernel.ROUTER})
        outside = await devices(layout.wan)
        _check_slot(layout, outside)
        inner = await devices(layout.router)
        if DEVICE not in inner or layout.link not in outside:
            await _link(layout, inner, outside)
        await _address(layout)
        await _limit(DEVICE, layout.router, rate_bps)
        await _limit(layout.link, layout.wan, rate_bps)


async def leave(layout: Layout) -> None:
    """Remove the cloud's link, and the ``wan`` with the last one."""
    async with kernel.locked(layout.locks[1]):
        if not kernel.there(layout.wan):
            return
        links = await devices(layout.wan)
        if links.pop(layout.link, None):
            await kernel.batch("ip", [f"link delete {layout.link}"], namespace=layout.wan)
        if not any(device.kind == "veth" for device in links.values()):
            await kernel.remove_namespace(layout.wan)


async def publish(layout: Layout, addresses: Iterable[_IPv4]) -> None:
    """Let the ``wan`` lead to these guests' addresses through this cloud, whoever had them before."""
    via = f"via {layout.link_addresses[2]} dev {layout.link}"
    async with kernel.locked(layout.locks[1]):
        await kernel.batch(
            "ip", [f"route replace {address}/32 {via}" for address in addresses], namespace=layout.wan
        )


async def withdraw(layout: Layout, addresses: Iterable[_IPv4]) -> None:
    """Take these guests' addresses away, where the ``wan`` still leads to this cloud for them."""
    wanted = {str(address) for address in addresses}
    if not wanted or not kernel.there(layout.wan):
        return
    async with kernel.locked(layout.locks[1]):
        listing = ["ip", "-j", "route", "show", "dev", layout.link]
        if layout.link not in await devices(layout.wan):
            return
        routes: list[dict[str, Any]] = await kernel.listed(listing, namespace=layout.wan)
        gone = [f"route delete {r['dst']}/32 dev {layout.link}" for r in routes if r["dst"] in wanted]
        await kernel.batch("ip", gone, namespace=layout.wan)


def _check_slot(layout: Layout, outside: dict[str, Device]) -> None:
    ours = layout.link_addresses[1]
    for device in outside.values():
        if device.name != layout.link and any(address.ip == ours for address in device.addresses):
            raise errors.Conflict(
                "cloud.wan.slot_taken",
                f"Another cloud of this home has the address {ours} between clouds already.",
                remedy="Remove this cloud and make it again: it gets another id and another address.",
            )


async def _link(layout: Layout, inner: dict[str, Device], outside: dict[str, Device]) -> None:
    if DEVICE in inner:
        await kernel.batch("ip", [f"link delete {DEVICE}"], namespace=layout.router)
    if layout.link in outside:
        await kernel.batch("ip", [f"link delete {layout.link}"], namespace=layout.wan)
    pair = f"link add {DEVICE} mtu 1500 type veth peer name {layout.link} mtu 1500 netns {layout.wan}"
    await kernel.batch("ip", [pair], namespace=layout.router)


async def _address(layout: Layout) -> None:
    wan_end, cloud_end = layout.link_addresses[1], layout.link_addresses[2]
    await kernel.batch(
        "ip",
        [
            f"addr replace {wan_end}/30 dev {layout.link}",
            f"link set {layout.link} up",
        ],
        namespace=layout.wan,
    )
    await kernel.batch(
        "ip",
        [
            f"addr replace {cloud_end}/30 dev {DEVICE}",
            f"link set {DEVICE} up",
            f"route replace default via {wan_end} dev {DEVICE}",
        ],
        namespace=layout.router,
    )
    seats = f"route replace {layout.seat_addresses} via {cloud_end} dev {layout.link}"
    await kernel.batch("ip", [seats], namespace=layout.wan)


async def _limit(device: str, namespace: str, rate_bps: int) -> None:
    """Let ``device`` send at most ``rate_bps``; the queue holds what it sends in 40 ms."""
    rows: list[dict[str, Any]] = await kernel.listed(
        ["tc", "-j", "qdisc", "show", "dev", device], namespace=namespace
    )
    limited = any(row.get("kind") == "tbf" for row in rows)
    if rate_bps:
        # A burst of 2 ms, but room for a few of the 64 KiB pieces that the kernel sends at once.
        burst = max(rate_bps // 8 // 500, 256 << 10)
        line = f"qdisc replace dev {device} root tbf rate {rate_bps}bit burst {burst} latency 40ms"
        await kernel.batch("tc", [line], namespace=namespace)
    elif limited:
        await kernel.batch("tc", [f"qdisc delete dev {device} root"], namespace=namespace)
