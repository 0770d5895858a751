"""Let gateways read images: what a VM that comes in has of them need not be sent."""

import dataclasses
import hashlib

from crossport.clouds.local import catalog, serving
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import Image, OpenImages, Owner
from crossport.clouds.local.volume import image_path, images
from crossport.hypervisor import daemon, nbd_server
from crossport.hypervisor.nbd_server import Served
from crossport.model.artifact import DiskRef
from crossport.model.run import Act
from crossport.spi.making import image_unknown

__all__ = ["close_images", "open_images", "published"]


def published(cloud: Installation, project: str = "") -> tuple[Image, ...]:
    """Return the images that the project may read, the newest first."""
    project = catalog.constructs(cloud, project).project
    owners = {owner.id: owner.project for owner in cloud.state.every(Owner)}
    mine = [image for image in images(cloud) if owners.get(image.id, project) == project]
    return tuple(sorted(mine, key=lambda image: -image_path(cloud, image).stat().st_mtime_ns))


async def open_images(
    cloud: Installation, act: Act, ids: tuple[str, ...], project: str
) -> tuple[DiskRef, ...]:
    """Serve images to gateways, read-only, until `close_images`. A run that asks again gets the same."""
    known = {image.id: image for image in published(cloud, project)}
    for image_id in ids:
        if image_id not in known:
            raise image_unknown(image_id)
    chosen = [known[image_id] for image_id in dict.fromkeys(ids)]
    named = hashlib.sha256(" ".join(sorted(known[one].id for one in ids)).encode()).hexdigest()
    key = f"images {act.run} {named[:16]}"
    async with cloud.working(key, "publishing", act):
        opened = cloud.state.find(key, OpenImages)
        if opened is None:
            # Written down before anything is opened, so that it can be closed whatever happens.
            opened = OpenImages(id=key, run=act.run, images=tuple(image.id for image in chosen))
            cloud.state.put(key, opened)
        if opened.daemon is None or not daemon.alive(opened.daemon):
            server = await _served(cloud, key, chosen)
            cloud.state.put(key, dataclasses.replace(opened, daemon=server))
    path = serving.socket_path(cloud, key)
    return tuple(
        DiskRef(kind="nbd", locator=f"unix:{path}?export={one.id}", size=one.size, identity=one.id)
        for one in (known[image_id] for image_id in ids)
    )


async def close_images(cloud: Installation, act: Act) -> None:
    """Close what the run has open. May be called twice."""
    cloud.state.admit(act)
    for one in cloud.state.every(OpenImages):
        if one.run == act.run:
            async with cloud.working(one.id, "closing", act):
                opened = cloud.state.find(one.id, OpenImages) or one
                await serving.close(cloud, one.id, opened.daemon, in_order=False)
                cloud.state.drop(one.id, OpenImages)


async def _served(cloud: Installation, key: str, chosen: list[Image]) -> daemon.Daemon | None:
    uid = cloud.images_uid()
    served = list[Served]()
    for image in chosen:
        path = image_path(cloud, image)
        cloud.own(path, uid)
        served.append(Served(name=image.id, path=path, format=image.format))
    if not served:
        return None
    path = serving.socket_path(cloud, key)
    with serving.listening(cloud, path) as listener:
        return await nbd_server.serve(
            served,
            listener=listener,
            control=serving.control_of(cloud, key),
            uid=uid,
            log=cloud.layout.exports / f"{path.parent.name}.log",
        )
