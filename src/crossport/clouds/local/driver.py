"""The driver of the embedded cloud: all abilities, over the cloud's own API and nothing else."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from crossport import errors
from crossport.clouds.local import wire
from crossport.clouds.local.fabric import Door
from crossport.clouds.local.starter import ensure_running
from crossport.model import codec
from crossport.model.artifact import Artifact, DiskRef, Export, ExportPoint, Marks, Place, Way
from crossport.model.construct import Constructs, Image, KeyPair, Network, SecurityGroup
from crossport.model.health import Probe, ProbeResult
from crossport.model.permit import Fence
from crossport.model.run import Act, Created
from crossport.model.vm import VM
from crossport.spi.cloud import NewVM, RoomFor
from crossport.spi.secret import Secret

__all__ = ["LocalCloud"]

# Longer than anything the service itself bounds: a suspend of much memory, a copy of a large image.
_ANSWER_S = 1800.0
_PIECE = 1 << 20

T = TypeVar("T")


class LocalCloud:
    """One embedded cloud. The service is started when a call finds none."""

    def __init__(self, name: str, root: Path, token: Secret) -> None:
        self.name = name
        self._root = root
        self._token = token
        self._client: httpx.AsyncClient | None = None
        self._folder = -1

    async def check(self) -> str:
        """Prove that the cloud answers; return what answered."""
        about = await self._get("cloud", wire.AboutCloud)
        return f"embedded cloud {about.name}, API {about.version}, {about.vms} VMs"

    async def close(self) -> None:
        """Let go of the connection; the service goes on by itself."""
        if self._client is not None:
            await self._client.aclose()
            os.close(self._folder)
            self._client, self._folder = None, -1

    async def installation(self) -> str:
        """Return the cloud's id, which follows from its token: a copied directory is not another one."""
        return (await self.about()).id

    async def about(self) -> wire.AboutCloud:
        """Return what the cloud says of itself: accelerator, what is not enforced, orphans."""
        return await self._get("cloud", wire.AboutCloud)

    # Inventory
    async def constructs(self, project: str = "") -> Constructs:
        """Return what a VM of ``project`` can be mapped to."""
        return await self._get("constructs", Constructs, project=project)

    async def vms(self, project: str = "") -> tuple[VM, ...]:
        """Return all VMs, sorted by name, then id."""
        return await self._get("vms", tuple[VM, ...], project=project)

    async def vm(self, reference: str) -> VM:
        """Return the VM with this id, or the only one with this name."""
        return await self._get(f"vms/{_word(reference)}", VM)

    # Power
    async def start(self, act: Act, vm_id: str) -> None:
        """Start or resume the VM."""
        await self._post(f"vms/{_word(vm_id)}/start", wire.Acted(act=act), None)

    async def shut_down(self, act: Act, vm_id: str, timeout_s: float) -> bool:
        """Press the power button; say whether the guest was off in time."""
        ask = wire.AskShutDown(act=act, timeout_s=timeout_s)
        return await self._post(f"vms/{_word(vm_id)}/shut-down", ask, bool)

    async def power_off(self, act: Act, vm_id: str) -> None:
        """Take the power away."""
        await self._post(f"vms/{_word(vm_id)}/power-off", wire.Acted(act=act), None)

    # Fencer
    async def fence(self, act: Act, vm_id: str) -> Fence:
        """Lock the stopped VM and unplug its NICs."""
        return await self._post(f"vms/{_word(vm_id)}/fence", wire.Acted(act=act), Fence)

    async def unfence(self, act: Act, vm_id: str) -> None:
        """Undo ``fence``."""
        await self._post(f"vms/{_word(vm_id)}/unfence", wire.Acted(act=act), None)

    # Exporter
    def points(self) -> frozenset[ExportPoint]:
        """Stopped, suspended, and one moment of a running VM."""
        return frozenset(ExportPoint)

    async def suspend(self, act: Act, vm_id: str) -> None:
        """Stop the guest with its memory kept in a file."""
        await self._post(f"vms/{_word(vm_id)}/suspend", wire.Acted(act=act), None)

    async def export(self, act: Act, vm_id: str, point: ExportPoint) -> Export:
        """Open everything that makes the VM for reading, over NBD."""
        return await self._post(f"vms/{_word(vm_id)}/export", wire.AskExport(act=act, point=point), Export)

    async def end_export(self, act: Act, vm_id: str) -> None:
        """Close what the run opened of this VM."""
        await self._post(f"vms/{_word(vm_id)}/end-export", wire.Acted(act=act), None)

    # ChangeTracker
    async def export_changes(self, act: Act, vm_id: str, point: ExportPoint, marks: Marks) -> Export:
        """Open the VM as ``export`` does; QEMU's dirty bitmaps tell what changed."""
        ask = wire.AskChanges(act=act, point=point, marks=marks)
        return await self._post(f"vms/{_word(vm_id)}/export-changes", ask, Export)

    async def end_tracking(self, act: Act, vm_id: str) -> None:
        """Forget all marks of the run."""
        await self._post(f"vms/{_word(vm_id)}/end-tracking", wire.Acted(act=act), None)

    # Importer
    async def prepare_import(self, act: Act, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make empty volumes and open them for writing, over NBD."""
        return await self._post("imports", wire.AskPrepare(act=act, rooms=rooms), tuple[Artifact, ...])

    async def seal_import(self, act: Act) -> tuple[Artifact, ...]:
        """Close all writers of the run, durably."""
        return await self._post("imports/seal", wire.Acted(act=act), tuple[Artifact, ...])

    async def instantiate(self, act: Act, new: NewVM) -> VM:
        """Define and start the VM from sealed artifacts."""
        return await self._post("instances", wire.AskInstantiate(act=act, new=new), VM)

    async def open_network(self, act: Act, vm_id: str) -> None:
        """End the quarantine."""
        await self._post(f"vms/{_word(vm_id)}/open-network", wire.Acted(act=act), None)

    async def remove(self, act: Act, thing: Created) -> None:
        """Remove a thing the run made."""
        await self._post("things/remove", wire.AskRemove(act=act, thing=thing), None)

    async def tagged(self, run: str) -> tuple[Created, ...]:
        """Return everything that carries the run's tag."""
        return await self._get("things", tuple[Created, ...], run=run)

    # Prober, GatewayHost, Console
    async def probe(self, vm_id: str, probe: Probe) -> ProbeResult:
        """Try once, from inside the cloud."""
        return await self._post(f"vms/{_word(vm_id)}/probe", wire.AskProbe(probe=probe), ProbeResult)

    async def place(self, way: Way) -> Place:
        """Return the gateway's seat."""
        return await self._get(f"places/{way}", Place)

    async def console_log(self, vm_id: str, last_bytes: int = 65536) -> str:
        """Return the end of what the guest has printed."""
        return await self._get(f"vms/{_word(vm_id)}/console", str, last_bytes=str(last_bytes))

    # Provisioner
    async def create_vm(self, act: Act, vm: VM, image: str, power_on: bool = True) -> VM:
        """Make a VM whose first disk is a copy of the image."""
        return await self._post("vms", wire.AskCreate(act=act, vm=vm, image=image, power_on=power_on), VM)

    async def delete_vm(self, act: Act, vm_id: str) -> tuple[str, ...]:
        """Delete a VM that is off, and its disks."""
        return await self._post(f"vms/{_word(vm_id)}/delete", wire.Acted(act=act), tuple[str, ...])

    def deletes(self, vm: VM) -> tuple[str, ...]:
        """Say in words what ``delete_vm`` would delete."""
        return wire.deleted_words(vm)

    # Beyond the common abilities
    async def snapshot(self, act: Act, vm_id: str, name: str) -> VM:
        """Keep the present state of the VM's disks under ``name``, inside them."""
        return await self._post(f"vms/{_word(vm_id)}/snapshot", wire.AskSnapshot(act=act, name=name), VM)

    async def door(self, vm_id: str, guest_port: int) -> Door | None:
        """Return how others on this machine reach the guest's TCP port; None when they cannot."""
        return await self._get(f"vms/{_word(vm_id)}/door", Door | None, port=str(guest_port))

    async def images(self) -> tuple[Image, ...]:
        """Return the images that VMs can be made from."""
        return await self._get("images", tuple[Image, ...])

    async def register_image(self, name: str, path: Path, image_format: str = "raw") -> Image:
        """Copy the file ``path`` (raw or qcow2) into the cloud as image ``name``.

        Raise Conflict ``image.exists``, Refused when the cloud finds it hostile.
        """
        return await self.add_image(name, image_format, _pieces(path))

    async def add_image(
        self, name: str, image_format: str, content: AsyncIterator[bytes], project: str = ""
    ) -> Image:
        """Take ``content`` (raw or qcow2) in as image ``name``, as ``register_image`` does.

        It is published to ``project`` alone, or to all.
        """
        params = {"format": image_format, **({"project": project} if project else {})}
        return await self._call("PUT", f"images/{_word(name)}", Image, params=params, content=content)

    async def drop_image(self, name: str) -> None:
        """Delete an image; VMs made from it keep their copies."""
        await self._call("DELETE", f"images/{_word(name)}", None)

    # Publisher
    async def published(self, project: str = "") -> tuple[Image, ...]:
        """Return the images that the project may read, the newest first."""
        return await self._get("published", tuple[Image, ...], project=project)

    async def open_images(self, act: Act, ids: tuple[str, ...], project: str = "") -> tuple[DiskRef, ...]:
        """Open images for reading, over NBD."""
        ask = wire.AskImages(act=act, ids=ids, project=project)
        return await self._post("published/open", ask, tuple[DiskRef, ...])

    async def close_images(self, act: Act) -> None:
        """Close what the run has open."""
        await self._post("published/close", wire.Acted(act=act), None)

    async def add_key(self, name: str, public_key: str) -> KeyPair:
        """Take a public key in, replacing one of that name."""
        key = KeyPair(name=name, public_key=public_key, fingerprint="")
        return await self._call("PUT", "keys", KeyPair, content=codec.encoded(key))

    async def add_network(self, network: Network) -> Network:
        """Make a network."""
        return await self._call("PUT", "networks", Network, content=codec.encoded(network))

    async def add_security_group(self, group: SecurityGroup) -> SecurityGroup:
        """Make or replace a security group."""
        return await self._call("PUT", "security-groups", SecurityGroup, content=codec.encoded(group))

    async def _get(self, path: str, kind: Any, **params: str) -> Any:
        return await self._call("GET", path, kind, params=params)

    async def _post(self, path: str, ask: object, kind: Any) -> Any:
        return await self._call("POST", path, kind, content=codec.encoded(ask))

    async def _call(
        self,
        verb: str,
        path: str,
        kind: Any,
        *,
        params: dict[str, str] | None = None,
        content: str | AsyncIterator[bytes] | None = None,
    ) -> Any:
        """Call the service; start it once if nobody listens, since then nothing was done."""
        try:
            answer = await self._asked(verb, path, params, content)
        except httpx.ConnectError:
            await ensure_running(self._root)
            try:
                answer = await self._asked(verb, path, params, content)
            except httpx.HTTPError as error:
                raise self._silent(error) from error
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if answer.status_code != 200:
            raise self._fault(answer)
        return codec.decoded(answer.content, kind) if kind is not None else None

    async def _asked(
        self, verb: str, path: str, params: dict[str, str] | None, content: str | AsyncIterator[bytes] | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        client = self._opened()
        return await client.request(
            verb, f"/{wire.VERSION}/{path}", params=params, content=content, headers=headers
        )

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                self._folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise errors.NotFound(
                    "cloud.unknown",
                    f"There is no embedded cloud in {self._root}.",
                    field="settings.path",
                    remedy="Give the directory of an existing one.",
                ) from error
            # Through the open directory, because the kernel takes 107 bytes of a socket's path.
            socket = f"/proc/self/fd/{self._folder}/socket"
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=socket),
                base_url="http://cloud",
                timeout=httpx.Timeout(_ANSWER_S, connect=10.0),
            )
        return self._client

    def _silent(self, error: httpx.HTTPError) -> errors.Unavailable:
        return errors.Unavailable(
            "cloud.silent",
            f"Cloud {self.name} broke off: {type(error).__name__}.",
            remedy="The same call can be made again.",
        )

    def _fault(self, answer: httpx.Response) -> errors.Error:
        try:
            return wire.error_of(codec.decoded(answer.content, wire.Fault))
        except errors.Invalid:
            return errors.Unavailable(
                "cloud.silent",
                f"Cloud {self.name} answers {answer.status_code}.",
                remedy="Look into service.log in the cloud's directory; then try again.",
            )


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _word(text: str) -> str:
    """Return ``text`` as one part of a path."""
    if not text.isprintable() or text in {"", ".", ".."} or any(sign in text for sign in "/?#%"):
        raise errors.NotFound(
            "vm.unknown",
            f"Nothing can be looked up by the name {text!r}.",
            remedy="Use its id, as `crossport vm list` shows it.",
        )
    return text
