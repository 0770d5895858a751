"""Make the gateways' seats: for each reserved subnet a namespace with one leg to the cloud's router.

A process at a seat is inside the reserved subnet and nowhere else; two seats are two namespaces, so that
neither has to choose by which leg to answer.
"""

from crossport.clouds.local.network import kernel
from crossport.clouds.local.network.device import devices
from crossport.clouds.local.network.layout import Layout, Seat

__all__ = ["DEVICE", "make_seat", "remove_seat"]

DEVICE = "seat0"


async def make_seat(layout: Layout, seat: Seat) -> None:
    """Make the seat and its leg, where they are missing."""
    await kernel.make_namespace(seat.namespace)
    await kernel.set_switches({seat.namespace: kernel.HOST})
    routers, here = await devices(layout.router), await devices(seat.namespace)
    if seat.device not in routers or DEVICE not in here:
        if seat.device in routers:
            await kernel.batch("ip", [f"link delete {seat.device}"], namespace=layout.router)
        pair = f"link add {seat.device} mtu 1500 type veth peer name {DEVICE} mtu 1500 netns {seat.namespace}"
        await kernel.batch("ip", [pair], namespace=layout.router)
    await kernel.batch(
        "ip",
        [f"addr replace {seat.router}/30 dev {seat.device}", f"link set {seat.device} up"],
        namespace=layout.router,
    )
    await kernel.batch(
        "ip",
        [
            f"addr replace {seat.address}/30 dev {DEVICE}",
            f"link set {DEVICE} up",
            f"route replace default via {seat.router} dev {DEVICE}",
        ],
        namespace=seat.namespace,
    )


async def remove_seat(layout: Layout, seat: Seat) -> None:
    """Remove the seat, unless it is gone."""
    if kernel.there(layout.router) and seat.device in await devices(layout.router):
        await kernel.batch("ip", [f"link delete {seat.device}"], namespace=layout.router)
    await kernel.remove_namespace(seat.namespace)
