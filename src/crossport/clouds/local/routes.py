"""The embedded cloud's own small HTTP API: who may call, what each path does, how errors are told.

Everything needs the cloud's bearer token. A failure that was foreseen answers with its HTTP status and a
``Fault``; anything else is logged and answers 500 without details.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crossport import errors
from crossport.clouds.local import (
    catalog,
    console,
    guest,
    halt,
    inbound,
    offer,
    orphan,
    outbound,
    prober,
    provision,
    publishing,
    reserve,
    snapshot,
    volume,
    wire,
)
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import port_of
from crossport.clouds.local.state import Guest
from crossport.model import codec
from crossport.model.artifact import Way
from crossport.model.construct import KeyPair, Network, SecurityGroup

__all__ = ["Desk", "application"]

_LOG = logging.getLogger("crossport.clouds.local")
_LARGEST_BODY = 1 << 20

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[object]]


class Desk:
    """Where calls arrive: counts them, checks the token, finds the handler.

    ``failure`` is why the cloud could not start; then every call is answered with it.
    """

    def __init__(self, cloud: Installation, failure: errors.Error | None = None) -> None:
        self._cloud = cloud
        self._failure = failure
        self.open_calls = 0
        self.last_call = asyncio.get_running_loop().time()

    def serve(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint around ``handler``."""

        async def endpoint(request: Request) -> Response:
            self.open_calls += 1
            try:
                self._need_token(request)
                if self._failure is not None:
                    raise self._failure
                return _answer(await handler(request))
            except errors.Error as error:
                return _answer(wire.fault_of(error), error.status)
            except (OSError, sqlite3.OperationalError) as error:
                # A full disk, too many open files: the machine's fault. Made again, the call has the reserve.
                _LOG.exception("%s %s failed", request.method, request.url.path)
                reserve.give_up(self._cloud.layout)
                return _answer(wire.fault_of(_failure_of_machine(error)), 503)
            except Exception:  # noqa: BLE001 - recorded
                # The outermost place of a call: whatever was not foreseen is written down here, once.
                _LOG.exception("%s %s failed", request.method, request.url.path)
                fault = wire.Fault(
                    kind="Broken", code="cloud.internal", text="The cloud failed; see its log."
                )
                return _answer(fault, 500)
            finally:
                self.open_calls -= 1
                self.last_call = asyncio.get_running_loop().time()

        return endpoint

    def _need_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.encode()).hexdigest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._cloud.state.fact("token")):
            raise errors.Refused(
                "cloud.token.wrong",
                "The cloud does not accept this token.",
                remedy="Use the token that the cloud wrote when it was made.",
            )


def application(cloud: Installation, desk: Desk, *, nonce: Callable[[], str]) -> Starlette:
    """Return the API. ``nonce`` returns random text, another one each time."""
    handlers = _Handlers(cloud, nonce)
    paths: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/cloud", handlers.about),
        ("GET", "/constructs", handlers.constructs),
        ("GET", "/vms", handlers.vms),
        ("POST", "/vms", handlers.create),
        ("GET", "/vms/{vm}", handlers.vm),
        ("POST", "/vms/{vm}/delete", handlers.delete),
        ("POST", "/vms/{vm}/start", handlers.start),
        ("POST", "/vms/{vm}/shut-down", handlers.shut_down),
        ("POST", "/vms/{vm}/power-off", handlers.power_off),
        ("POST", "/vms/{vm}/suspend", handlers.suspend),
        ("POST", "/vms/{vm}/snapshot", handlers.snapshot),
        ("POST", "/vms/{vm}/fence", handlers.fence),
        ("POST", "/vms/{vm}/unfence", handlers.unfence),
        ("POST", "/vms/{vm}/export", handlers.export),
        ("POST", "/vms/{vm}/export-changes", handlers.export_changes),
        ("POST", "/vms/{vm}/end-export", handlers.end_export),
        ("POST", "/vms/{vm}/end-tracking", handlers.end_tracking),
        ("POST", "/vms/{vm}/open-network", handlers.open_network),
        ("POST", "/vms/{vm}/probe", handlers.probe),
        ("GET", "/vms/{vm}/console", handlers.console),
        ("GET", "/vms/{vm}/door", handlers.door),
        ("POST", "/imports", handlers.prepare),
        ("POST", "/imports/seal", handlers.seal),
        ("POST", "/instances", handlers.instantiate),
        ("GET", "/things", handlers.tagged),
        ("POST", "/things/remove", handlers.remove),
        ("GET", "/places/{way}", handlers.place),
        ("GET", "/images", handlers.images),
        ("GET", "/published", handlers.published),
        ("POST", "/published/open", handlers.open_images),
        ("POST", "/published/close", handlers.close_images),
        ("PUT", "/images/{name}", handlers.add_image),
        ("DELETE", "/images/{name}", handlers.drop_image),
        ("PUT", "/keys", handlers.add_key),
        ("PUT", "/networks", handlers.add_network),
        ("PUT", "/security-groups", handlers.add_group),
    )
    routes = [
        Route(f"/{wire.VERSION}{path}", desk.serve(handler), methods=[verb]) for verb, path, handler in paths
    ]
    return Starlette(routes=routes)


class _Handlers:
    """One method per path: take the question apart, ask the part that knows, return a model."""

    def __init__(self, cloud: Installation, nonce: Callable[[], str]) -> None:
        self._cloud = cloud
        self._nonce = nonce

    async def about(self, request: Request) -> wire.AboutCloud:
        del request
        cloud = self._cloud
        return wire.AboutCloud(
            name=cloud.spec.name,
            version=wire.VERSION,
            vms=len(cloud.state.every(Guest)),
            accelerator=str(cloud.accelerator or ""),
            accelerator_reason=cloud.accelerator_reason,
            pid=os.getpid(),
            id=cloud.cloud_id,
            notes=cloud.fabric.notes,
            orphans=orphan.orphans(cloud),
        )

    async def constructs(self, request: Request) -> object:
        return catalog.constructs(self._cloud, request.query_params.get("project", ""))

    async def vms(self, request: Request) -> object:
        for one in self._cloud.state.every(Guest):
            await self._settle(one)
        vms = catalog.vms(self._cloud, request.query_params.get("project", ""))
        return tuple(await asyncio.gather(*(halt.told(self._cloud, vm) for vm in vms)))

    async def vm(self, request: Request) -> object:
        return await halt.told(self._cloud, catalog.described(self._cloud, await self._guest(request)))

    async def create(self, request: Request) -> object:
        ask = await _body(request, wire.AskCreate)
        return await provision.create_vm(self._cloud, ask.act, ask.vm, ask.image, ask.power_on)

    async def delete(self, request: Request) -> object:
        return await provision.delete_vm(self._cloud, await _act(request), request.path_params["vm"])

    async def start(self, request: Request) -> object:
        return await guest.start(self._cloud, await _act(request), self._id(request))

    async def shut_down(self, request: Request) -> object:
        ask = await _body(request, wire.AskShutDown)
        return await guest.shut_down(self._cloud, ask.act, self._id(request), ask.timeout_s)

    async def power_off(self, request: Request) -> object:
        return await guest.power_off(self._cloud, await _act(request), self._id(request))

    async def suspend(self, request: Request) -> object:
        return await guest.suspend(self._cloud, await _act(request), self._id(request))

    async def snapshot(self, request: Request) -> object:
        ask = await _body(request, wire.AskSnapshot)
        return await snapshot.take(self._cloud, ask.act, self._id(request), ask.name)

    async def fence(self, request: Request) -> object:
        return await guest.fence(self._cloud, await _act(request), self._id(request))

    async def unfence(self, request: Request) -> object:
        return await guest.unfence(self._cloud, await _act(request), self._id(request))

    async def export(self, request: Request) -> object:
        ask = await _body(request, wire.AskExport)
        return await outbound.export(self._cloud, ask.act, self._id(request), ask.point)

    async def export_changes(self, request: Request) -> object:
        ask = await _body(request, wire.AskChanges)
        return await outbound.export(self._cloud, ask.act, self._id(request), ask.point, ask.marks)

    async def end_tracking(self, request: Request) -> object:
        return await outbound.end_tracking(self._cloud, await _act(request), request.path_params["vm"])

    async def end_export(self, request: Request) -> object:
        return await outbound.end_export(self._cloud, await _act(request), request.path_params["vm"])

    async def open_network(self, request: Request) -> object:
        return await provision.open_network(self._cloud, await _act(request), self._id(request))

    async def probe(self, request: Request) -> object:
        ask = await _body(request, wire.AskProbe)
        one = await self._guest(request)
        return await prober.probe(self._cloud, one, ask.probe, nonce=self._nonce())

    async def console(self, request: Request) -> object:
        last_bytes = _number(request, "last_bytes", 65536)
        return console.tail(self._cloud, self._cloud.guest(self._id(request)), last_bytes)

    async def door(self, request: Request) -> object:
        one = await self._guest(request)
        if not one.vm.nics or one.daemon is None:
            return None
        return await self._cloud.fabric.door(port_of(self._cloud, one, 0), _number(request, "port", 80))

    async def prepare(self, request: Request) -> object:
        ask = await _body(request, wire.AskPrepare)
        return await inbound.prepare_import(self._cloud, ask.act, ask.rooms)

    async def seal(self, request: Request) -> object:
        return await inbound.seal_import(self._cloud, await _act(request))

    async def instantiate(self, request: Request) -> object:
        ask = await _body(request, wire.AskInstantiate)
        return await provision.instantiate(self._cloud, ask.act, ask.new)

    async def tagged(self, request: Request) -> object:
        return offer.tagged(self._cloud, request.query_params.get("run", ""))

    async def remove(self, request: Request) -> object:
        ask = await _body(request, wire.AskRemove)
        return await offer.remove(self._cloud, ask.act, ask.thing)

    async def place(self, request: Request) -> object:
        way = request.path_params["way"]
        if way not in set(Way):
            raise errors.NotFound(
                "place.unknown", f"No gateway is for {way}.", field="way", remedy=f"Ask for {', '.join(Way)}."
            )
        return await self._cloud.fabric.place(Way(way))

    async def images(self, request: Request) -> object:
        del request
        return tuple(volume.images(self._cloud))

    async def add_image(self, request: Request) -> object:
        name, asked = request.path_params["name"], request.query_params
        project = asked.get("project", "")
        if project:
            catalog.constructs(self._cloud, project)
        return await volume.register_image(
            self._cloud, name, asked.get("format", "raw"), request.stream(), project
        )

    async def published(self, request: Request) -> object:
        return publishing.published(self._cloud, request.query_params.get("project", ""))

    async def open_images(self, request: Request) -> object:
        ask = await _body(request, wire.AskImages)
        return await publishing.open_images(self._cloud, ask.act, ask.ids, ask.project)

    async def close_images(self, request: Request) -> object:
        return await publishing.close_images(self._cloud, await _act(request))

    async def drop_image(self, request: Request) -> object:
        return volume.drop_image(self._cloud, request.path_params["name"])

    async def add_key(self, request: Request) -> object:
        return offer.add_key(self._cloud, await _body(request, KeyPair))

    async def add_network(self, request: Request) -> object:
        return await offer.add_network(self._cloud, await _body(request, Network))

    async def add_group(self, request: Request) -> object:
        return await offer.add_group(self._cloud, await _body(request, SecurityGroup))

    def _id(self, request: Request) -> str:
        return self._cloud.guest(request.path_params["vm"]).vm.id

    async def _guest(self, request: Request) -> Guest:
        return await self._settle(self._cloud.guest(request.path_params["vm"]))

    async def _settle(self, one: Guest) -> Guest:
        """Who works on a VM settles it; a question does not wait for that."""
        if self._cloud.is_busy(one.vm.id):
            return one
        async with self._cloud.working(one.vm.id, ""):
            return await guest.settled(self._cloud, self._cloud.guest(one.vm.id))


def _failure_of_machine(error: Exception) -> errors.Unavailable:
    return errors.Unavailable(
        "cloud.machine.failed",
        f"The machine of the cloud failed: {error}.",
        remedy="See that its disk is not full, then try again.",
    )


async def _act(request: Request) -> Any:
    return (await _body(request, wire.Acted)).act


async def _body(request: Request, kind: type[T]) -> T:
    text = b""
    async for piece in request.stream():
        text += piece
        if len(text) > _LARGEST_BODY:
            raise errors.Invalid("input.size.large", "The request is too large.", remedy="Send less at once.")
    return codec.decoded(text, kind)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 12:
        raise errors.Invalid(
            "input.field.invalid", "This is a whole number.", field=name, remedy="Write it with digits alone."
        )
    return int(text)


def _answer(value: object, status: int = 200) -> Response:
    text = "null" if value is None else codec.encoded(value)
    return Response(text, status, media_type="application/json")
