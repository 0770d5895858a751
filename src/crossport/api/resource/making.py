"""Embedded clouds and the images of clouds: make, fill, destroy."""

from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request, Response

from crossport.api import example
from crossport.api.body import body, content
from crossport.api.parameter import After, CloudName, Key, Limit, Page, Who, page
from crossport.api.route import Route
from crossport.model.construct import Image
from crossport.model.exchange import Destruction, FetchRequest
from crossport.model.name import NAME
from crossport.model.request import CloudRequest, CloudStatus
from crossport.model.run import RunRecord
from crossport.spi.making import Making

__all__ = ["MakingRoutes"]

ImageName = Annotated[str, Path(pattern=NAME, max_length=63, description="The image's name.")]
ImageFormat = Annotated[Literal["raw", "qcow2"], Query(description="What the content is; never guessed.")]


class MakingRoutes:
    """Serves ``/v1/embedded-clouds`` and ``/v1/clouds/{cloud}/images``."""

    def __init__(self, making: Making) -> None:
        self._making = making

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        one = "/v1/clouds/{cloud}"
        status, sent = example.shown(example.CLOUD_STATUS), example.shown(CloudRequest(name="alpha"))
        told = example.shown(Destruction(things=("cloud alpha", "image debian-12"), done=False))
        named = {"cloud": "$response.body#/entry/name"}
        fails, destruction = (404, 409), one + "/destruction"
        return (
            Route(
                "POST",
                "/v1/embedded-clouds",
                "cloud.create",
                self.create,
                status,
                201,
                CloudRequest,
                sent,
                raises=(409, 503),
                names=named,
            ),
            Route("GET", destruction, "cloud.preview", self.preview, told, raises=(*fails, 503)),
            Route(
                "POST",
                destruction,
                "cloud.destroy",
                self.destroy,
                {**told, "done": True},
                raises=(*fails, 503),
            ),
            *self._image_routes(one, fails),
        )

    def _image_routes(self, one: str, fails: tuple[int, ...]) -> tuple[Route, ...]:
        image = example.shown(example.IMAGE)
        listed = example.page_of(example.IMAGE)
        wanted = FetchRequest(url="https://images.example.org/debian-12.qcow2", format="qcow2")
        return (
            Route("GET", one + "/images", "image.list", self.images, listed, raises=(*fails, 503)),
            Route(
                "PUT",
                one + "/images/{image}",
                "image.upload",
                self.upload,
                image,
                201,
                raises=(*fails, 503),
                upload=True,
            ),
            Route(
                "POST",
                one + "/images/{image}",
                "image.fetch",
                self.fetch,
                example.shown(example.RUN),
                202,
                FetchRequest,
                example.shown(wanted),
                raises=(*fails, 503),
                names={"run": "$response.body#/id"},
            ),
            Route(
                "DELETE",
                one + "/images/{image}",
                "image.delete",
                self.delete,
                status=204,
                raises=(*fails, 503),
            ),
        )

    async def create(
        self, who: Who, request: Annotated[CloudRequest, Depends(body(CloudRequest))]
    ) -> CloudStatus:
        """Make an embedded cloud on the site's machine, and connect it."""
        return await self._making.create_cloud(who.tenant, request)

    async def preview(self, who: Who, cloud: CloudName) -> Destruction:
        """Say what destroying the embedded cloud would remove."""
        things = await self._making.destroy_cloud(who.tenant, cloud, confirmed=False)
        return Destruction(things=things, done=False)

    async def destroy(self, who: Who, cloud: CloudName) -> Destruction:
        """Remove the embedded cloud with its images. Refused while it has VMs. Cannot be undone."""
        things = await self._making.destroy_cloud(who.tenant, cloud, confirmed=True)
        return Destruction(things=things, done=True)

    async def images(self, who: Who, cloud: CloudName, after: After = "", limit: Limit = 100) -> Page[Image]:
        """List the images that VMs of the cloud can be made from, by name."""
        found = await self._making.images(who.tenant, cloud)
        return page(found, tuple(image.name for image in found), after, limit)

    async def upload(
        self,
        who: Who,
        cloud: CloudName,
        image: ImageName,
        request: Request,
        *,
        format: ImageFormat = "raw",  # noqa: A002 - the parameter's own word
    ) -> Image:
        """Take the body in as an image, when it is found harmless. It has a limit of size of its own."""
        return await self._making.add_image(who.tenant, cloud, image, format, content(request))

    async def fetch(
        self,
        who: Who,
        cloud: CloudName,
        image: ImageName,
        request: Annotated[FetchRequest, Depends(body(FetchRequest))],
        key: Key,
        response: Response,
    ) -> RunRecord:
        """Have a run take in as an image what a web server has, when it is found harmless.

        The operator lists in the setting ``egress`` what may be fetched. Called again for the same thing it
        returns the run that fetches it; after one that was cut off, a new run goes on with what had arrived.
        """
        run = await self._making.fetch_image(who.tenant, cloud, image, request, key)
        response.headers["Location"] = f"/v1/runs/{run.id}"
        return run

    async def delete(self, who: Who, cloud: CloudName, image: ImageName) -> None:
        """Delete an image. VMs made from it have copies."""
        await self._making.drop_image(who.tenant, cloud, image)
