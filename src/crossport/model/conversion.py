"""A guest conversion as data: which sealed image went in, which tool worked on it, which disks came out."""

from typing import Annotated

from pydantic import Field

from crossport.model.certified import Check, Digest, Moment, Word
from crossport.model.record import record
from crossport.model.sealing import ClaimedDisk
from crossport.model.signed_claim import SignedClaim

__all__ = [
    "CONVERSION_VERSION",
    "Conversion",
    "ConversionApproval",
    "ConversionProof",
    "Converted",
    "ConvertedDisk",
    "Parameter",
    "Tool",
]

CONVERSION_VERSION = 1


@record()
class Parameter:
    """One setting with which the tool ran."""

    name: Word
    value: Annotated[str, Field(max_length=2000)]


@record()
class Tool:
    """What converted the guest. ``image`` is the SHA-256 of the image from which the tool was started."""

    name: Word
    version: Word
    image: Digest
    parameters: Annotated[tuple[Parameter, ...], Field(max_length=64)] = ()


@record()
class ConvertedDisk:
    """What a guest sees of a disk, before its conversion or after: as in a seal."""

    id: Word
    size: Annotated[int, Field(ge=1, le=1 << 63)]
    chunk_size: Annotated[int, Field(ge=1 << 16, le=1 << 24)]
    root: Digest

    def claimed(self) -> ClaimedDisk:
        """Return it as a gateway claims it."""
        return ClaimedDisk(id=self.id, size=self.size, chunk_size=self.chunk_size, root=self.root)


@record()
class Conversion:
    """What is signed: ``site`` converted, in ``run`` and at its ``cloud``, the image that it had admitted.

    ``seal`` is the SHA-256 of that image's sealed statement, ``input`` its disks and ``output`` the same
    disks as they are now, in the same order. ``boot`` is how a boot test ended, where one was made. Times are
    Unix seconds; a ``nonce`` is used once.
    """

    version: int = CONVERSION_VERSION
    site: Word
    cloud: Word
    run: Word
    seal: Digest
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    tool: Tool
    input: Annotated[tuple[ConvertedDisk, ...], Field(min_length=1, max_length=64)]
    output: Annotated[tuple[ConvertedDisk, ...], Field(min_length=1, max_length=64)]
    started: Moment
    finished: Moment
    boot: Check | None = None


@record()
class ConversionApproval:
    """The control plane lets what ``gateways`` wrote and converted in one run be attested, once.

    ``seal`` is the digest of the statement that the site admitted in this run; ``nonce`` that of the
    conversion. ``mac`` is the hex HMAC-SHA256 of the rest.
    """

    run: str
    seal: Digest
    gateways: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    expires: float
    mac: str = ""


@record()
class ConversionProof:
    """What a conversion rests on: the admitted image's sealed statement (base64), and the words of those that
    wrote its disks and of those that read them again when they were converted."""

    sealed: str
    written: Annotated[tuple[SignedClaim, ...], Field(min_length=1, max_length=64)]
    converted: Annotated[tuple[SignedClaim, ...], Field(min_length=1, max_length=64)]


@record()
class Converted:
    """What a tool made of a guest: the disks as they are now, and the words of those that read them then.

    ``boot`` is how a boot test ended, where one was made. Times are Unix seconds.
    """

    tool: Tool
    disks: Annotated[tuple[ConvertedDisk, ...], Field(min_length=1, max_length=64)]
    claims: Annotated[tuple[SignedClaim, ...], Field(min_length=1, max_length=64)]
    started: Moment
    finished: Moment
    boot: Check | None = None
