"""`crossport image upload`, `list` and `delete`: the images that VMs of a cloud are made from."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from crossport import errors
from crossport.cli.image import Stated, app, teller
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.convert.formats import OnProgress
from crossport.convert.inspection import Format
from crossport.convert.package import inspect_file
from crossport.model.exchange import FetchRequest
from crossport.units import MIB, size_text

__all__ = ["app", "delete", "fetch", "list_", "upload"]

TAKEN = {Format.RAW: "raw", Format.QCOW2: "qcow2"}


@app.command
def upload(
    file: Path,
    /,
    *,
    cloud: Annotated[str, Parameter(help="The cloud.")],
    name: Annotated[str, Parameter(help="What the image shall be called; without it, like the file.")] = "",
    stated: Stated = None,
    session: Here,
) -> None:
    """Bring an image (raw or qcow2) into a cloud, to make VMs from.

    It is inspected here and again by the cloud, and refused when it is hostile.

    For example:

      crossport image upload debian-12.qcow2 --cloud lab --name debian-12

    Parameters
    ----------
    file
        The image.
    """
    inspection = inspect_file(file, stated=stated)
    for blocker in inspection.blockers:
        raise errors.Refused(blocker.code, blocker.text, remedy=blocker.remedy, field="file")
    image_format = TAKEN.get(inspection.format) if inspection.format else None
    if image_format is None:
        raise errors.Invalid(
            "image.format.unknown",
            f"{file} is {inspection.format}; clouds take raw and qcow2.",
            field="file",
            remedy="Convert it first: crossport image convert.",
        )
    call = calls.upload_image(cloud, name or file.stem, image_format)
    image = session.upload(call, _pieces(file, teller(session)))
    session.out.result(
        image,
        fields(
            f"Image {image.name}", ("cloud", cloud), ("format", image.format), ("size", size_text(image.size))
        ),
    )


@app.command
def fetch(
    url: str,
    /,
    *,
    cloud: Annotated[str, Parameter(help="The cloud.")],
    name: Annotated[str, Parameter(help="What the image shall be called; without it, like the file.")] = "",
    stated: Annotated[
        Literal["raw", "qcow2"], Parameter(name="--format", help="What it is; never guessed.")
    ] = "qcow2",
    session: Here,
) -> None:
    """Have the site fetch an image (raw or qcow2) from a web server into a cloud.

    What may be fetched is listed in the site's setting `egress`. After a break the same
    command goes on with what had arrived.

    For example:

      crossport image fetch https://images.example.org/debian-12.qcow2 --cloud lab

    Parameters
    ----------
    url
        Where the image is: https://, or http:// where the site allows that.
    """
    called = name or PurePosixPath(urlsplit(url).path).stem
    image = session.send(calls.fetch_image(cloud, called, FetchRequest(url=url, format=stated)))
    session.out.result(
        image,
        fields(
            f"Image {image.name}", ("cloud", cloud), ("format", image.format), ("size", size_text(image.size))
        ),
    )


@app.command(name="list")
def list_(cloud: str, /, *, session: Here) -> None:
    """List the images of a cloud.

    For example:

      crossport image list lab

    Parameters
    ----------
    cloud
        The cloud.
    """
    images = session.all(lambda after: calls.images(cloud, after))
    rows = tuple((image.name, image.format, size_text(image.size)) for image in images)
    session.out.result(images, Table(("NAME", "FORMAT", "SIZE"), rows, right=frozenset({"SIZE"})))


@app.command
def delete(cloud: str, name: str, /, *, session: Here) -> None:
    """Delete an image of a cloud. VMs that were made from it have copies.

    For example:

      crossport image delete lab debian-12

    Parameters
    ----------
    cloud
        The cloud.
    name
        The image.
    """
    session.send(calls.delete_image(cloud, name))
    session.out.result({"deleted": name}, fields("", ("deleted", name)))


def _pieces(file: Path, tell: OnProgress) -> Iterator[bytes]:
    size, done = file.stat().st_size, 0
    with file.open("rb") as opened:
        while piece := opened.read(MIB):
            done += len(piece)
            tell("upload", done / size)
            yield piece
