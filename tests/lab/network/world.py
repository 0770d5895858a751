"""Two enforced clouds of one home, and guests that are namespaces instead of virtual machines.

A guest is attached by a veth that has the name of its port's tap, so the fabric takes it for the tap; from
there on everything is as with QEMU. Servers and clients are sockets that the test opens inside a namespace.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace

import pytest

from crossport.clouds.local import network
from crossport.clouds.local.fabric import Fabric, Port
from crossport.clouds.local.network import kernel
from crossport.clouds.local.network.layout import Layout, prefix, tap_name
from crossport.model.artifact import Way
from crossport.model.construct import Network, Rule, SecurityGroup

FRONT = Network(name="front", cidr="10.20.0.0/24", gateway="10.20.0.1")
BACK = Network(name="back", cidr="10.21.0.0/24", gateway="10.21.0.1")
LAB = Network(name="lab", cidr="10.20.0.0/24", gateway="10.20.0.1", isolated=True)
FAR = Network(name="far", cidr="10.30.0.0/24", gateway="10.30.0.1")
MOVED = Network(name="moved", cidr="10.22.0.0/24", gateway="10.22.0.1")
WEB = SecurityGroup(name="web", rules=(Rule(protocol="tcp", first_port=80, last_port=80),))
OPEN = SecurityGroup(name="open", rules=(Rule(protocol="any"),))

# A dropped packet is told from a slow one by waiting: long against the 2 ms of an answer here.
PATIENCE_S = 0.5


class Server:
    """Answers HTTP with a text until closed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.listener: asyncio.Server | None = None
        self.open: set[asyncio.Transport] = set()

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self.listener is not None:
            self.listener.close()
        for transport in self.open:
            transport.abort()
        await asyncio.sleep(0)


class Answer(asyncio.Protocol):
    """One connection to a `Server`."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.open.add(transport)

    def data_received(self, data: bytes) -> None:
        """Answer whatever was asked."""
        text = self.server.text
        self.transport.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.server.open.discard(self.transport)


@dataclass
class Guest:
    """One plugged guest."""

    fabric: Fabric
    port: Port
    namespace: str
    servers: list[Server]

    @property
    def address(self) -> str:
        """Its first address."""
        return self.port.addresses[0].partition("/")[0]

    async def change(self, **fields: object) -> None:
        """Change the port and put that in force."""
        self.port = replace(self.port, **fields)
        await self.fabric.update(self.port)

    async def serve(self, *ports: int, text: str = "hello") -> None:
        """Answer every HTTP request to these ports with ``text``."""
        for number in ports:
            self.servers.append(await serve(self.namespace, "0.0.0.0", number, text))  # noqa: S104


class World:
    """The clouds ``alpha`` and ``beta``."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.alpha = network.fabric("enforced", "alpha-id", "alpha", home=home)
        self.beta = network.fabric("enforced", "beta-id", "beta", home=home)
        self.wan = Layout(home, "alpha-id").wan
        self.count = 0

    async def make(self) -> None:
        """Make both."""
        reserved = [network.reserved_networks(name, home=self.home) for name in ("alpha-id", "beta-id")]
        await self.alpha.ensure((FRONT, BACK, LAB, MOVED, *reserved[0]))
        await self.beta.ensure((FAR, MOVED, *reserved[1]))

    def router(self, fabric: Fabric, of: Network) -> str:
        """Return the namespace of a network of alpha or beta."""
        cloud_id = "alpha-id" if fabric is self.alpha else "beta-id"
        return Layout(self.home, cloud_id).home_of(of)

    async def seat(self, fabric: Fabric, way: Way) -> tuple[str, str]:
        """Return namespace and address of a seat."""
        place = await fabric.place(way)
        return place.namespace, place.address

    def port(self, of: Network, host: int, *groups: SecurityGroup, quarantine: bool = False) -> Port:
        """Return a port of a new VM with the address number ``host`` of a network."""
        self.count += 1
        return Port(
            vm_id=f"vm-{self.count}",
            index=0,
            mac=f"52:54:00:00:00:{self.count:02x}",
            network=of,
            addresses=(f"{of.cidr.rpartition('.')[0]}.{host}/24",),
            rules=network.rules_of(groups),
            quarantine=quarantine,
        )

    @contextlib.asynccontextmanager
    async def guest(
        self, fabric: Fabric, of: Network, host: int, *groups: SecurityGroup, quarantine: bool = False
    ) -> AsyncGenerator[Guest]:
        """Plug a guest with the address number ``host`` of a network, until the block ends."""
        port = self.port(of, host, *groups, quarantine=quarantine)
        namespace = f"{prefix(self.home)}{port.vm_id}"
        guest = Guest(fabric, port, namespace, [])
        try:
            await plug_veth(port, self.router(fabric, of), namespace)
            await fabric.update(port)
            yield guest
        finally:
            for server in guest.servers:
                await server.close()
            await fabric.detach(port.vm_id, 0)
            await kernel.remove_namespace(namespace)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two clouds for all tests of a file; whatever of them is left is removed."""
    home = str(tmp_path_factory.mktemp("home"))
    made = World(home)
    try:
        asyncio.run(made.make())
        yield made
    finally:
        asyncio.run(network.remove_leftovers(home))


async def plug_veth(port: Port, router: str, namespace: str) -> None:
    """Make a guest's namespace, joined by a veth named like the port's tap."""
    tap = tap_name(port.vm_id, port.index)
    await kernel.make_namespace(namespace)
    pair = f"link add {tap} type veth peer name eth0 address {port.mac} netns {namespace}"
    await kernel.batch("ip", [pair], namespace=router)
    await kernel.batch(
        "ip",
        [
            *(f"addr add {address} dev eth0" for address in port.addresses),
            "link set eth0 up",
            f"route add default via {port.network.gateway}",
        ],
        namespace=namespace,
    )


async def tcp_socket(namespace: str) -> socket.socket:
    """Return a TCP socket inside the namespace."""
    made = socket.socket(fileno=await kernel.opened("tcp", {"namespace": namespace}))
    made.setblocking(False)
    return made


async def serve(namespace: str, host: str, port: int, text: str) -> Server:
    """Answer HTTP with ``text`` inside the namespace."""
    listening = await tcp_socket(namespace)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    made = Server(text)
    made.listener = await asyncio.get_running_loop().create_server(lambda: Answer(made), sock=listening)
    return made


async def said(namespace: str, address: str, port: int, *, source: str = "") -> str:
    """Return what the server at ``address`` says to somebody in the namespace; nothing when unreachable."""
    with await tcp_socket(namespace) as client:
        if source:
            client.bind((source, 0))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(client, (address, port))
        except OSError:  # TimeoutError is one
            return ""
        return await spoken(client)


async def spoken(client: socket.socket) -> str:
    """Ask over a connection and return the answer's body."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        await loop.sock_sendall(client, b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := await loop.sock_recv(client, 4096):
            answer += piece
    return answer.partition(b"\r\n\r\n")[2].decode()
