"""A cloud's store of images that a fetch is tried against."""

from collections.abc import AsyncIterator

from crossport.model.construct import Image

__all__ = ["Store"]


class Store:
    """A cloud's images, in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def images(self) -> tuple[Image, ...]:
        return tuple(Image(id=name, name=name, format="raw", size=len(self.held[name])) for name in self.held)

    async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
        self.held[name] = b"".join([piece async for piece in content])
        return Image(id=name, name=name, format=image_format, size=len(self.held[name]))

    async def drop_image(self, name: str) -> None:
        self.held.pop(name, None)
