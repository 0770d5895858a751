"""What makes a guest boot on the hypervisor of its target."""

from typing import Protocol

from crossport.model.artifact import Artifact
from crossport.model.conversion import Converted

__all__ = ["Converter"]


class Converter(Protocol):
    """A tool that converts guests, and the gateway of the site that vouches for what came out."""

    async def convert(self, run: str, disks: tuple[Artifact, ...]) -> Converted:
        """Convert the guest on ``disks``, and return what became of them, in their order.

        May be asked again for the same run: what was done is told once more, and what was left half done is
        begun anew from what had arrived. Never are disks converted twice.
        """
        ...
