"""`crossport image upload`, `list` and `delete`: the images that VMs of a cloud are made from."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Literal, TextIO
from urllib.parse import urlsplit

from cyclopts import Parameter

from crossport import errors
from crossport.cli.image import Stated, app
from crossport.cli.session import Here, Session
from crossport.cli.story import copy_text
from crossport.cli.text import Table, fields
from crossport.cli.watch import how_to_go_on, watch
from crossport.client import calls
from crossport.convert.inspection import Format
from crossport.convert.package import inspect_file
from crossport.model.artifact import Progress
from crossport.model.construct import Image
from crossport.model.exchange import FetchRequest
from crossport.model.run import RunState
from crossport.units import MIB, rate_text, size_text

__all__ = ["app", "delete", "fetch", "list_", "upload"]

STDIN = "-"
TAKEN = {Format.RAW: "raw", Format.QCOW2: "qcow2"}


@app.command
def upload(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
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

      zcat disk.raw.gz | crossport image upload - --cloud lab --name disk --format raw

    Parameters
    ----------
    file
        The image; - is standard input.
    """
    if str(file) == STDIN:
        image_format, called = _stated_fully(stated, name), name
        content, size = session.machine.stdin.buffer, _size_of(session.machine.stdin)
    else:
        image_format, called = _inspected(file, stated), name or file.stem
        content, size = file.open("rb"), file.stat().st_size
    with content:
        call = calls.upload_image(cloud, called, image_format)
        image = session.upload(call, _pieces(content, pace_teller(session, "upload", size)))
    session.out.result(image, _made(image, cloud))


def _inspected(file: Path, stated: Format | None) -> str:
    """Return the format of a file that a cloud may be given; raise Refused and Invalid."""
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
    return image_format


def _stated_fully(stated: Format | None, name: str) -> str:
    """Return the format of what comes on standard input: there it is said, because nothing else tells it."""
    image_format = TAKEN.get(stated) if stated else None
    if image_format is None or not name:
        raise errors.Invalid(
            "image.stdin.unsaid",
            "What comes on standard input has neither a name nor a format of its own.",
            field="--format" if name else "--name",
            remedy="Say both: --name NAME --format raw, or qcow2.",
        )
    return image_format


def _made(image: Image, cloud: str) -> Table:
    return fields(
        f"Image {image.name}", ("cloud", cloud), ("format", image.format), ("size", size_text(image.size))
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
    detach: Annotated[bool, Parameter(negative=(), help="Return at once; the run goes on.")] = False,
    session: Here,
) -> int:
    """Have the site fetch an image (raw or qcow2) from a web server into a cloud, by a run.

    What may be fetched is listed in the site's setting `egress`. Ctrl-C asks whether to detach or to cancel.
    After a break the same command goes on with what had arrived.

    For example:

      crossport image fetch https://images.example.org/debian-12.qcow2 --cloud lab

      crossport image fetch https://images.example.org/debian-12.qcow2 --cloud lab --detach

    Parameters
    ----------
    url
        Where the image is: https://, or http:// where the site allows that.
    """
    called = name or PurePosixPath(urlsplit(url).path).stem
    request = FetchRequest(url=url, format=stated)
    run = session.begin(calls.fetch_image(cloud, called, request, session.machine.new_key()))
    if detach:
        session.out.result(run, fields("", ("run", run.id), ("state", run.state.value)))
        session.out.say(how_to_go_on(run.id, run.state))
        return 0
    session.out.say(f"Run {run.id}: image {called} to {cloud}")
    status = watch(session, run.id, back="what arrived is kept")
    record = session.send(calls.run(run.id))
    made = [image for image in session.all(lambda after: calls.images(cloud, after)) if image.name == called]
    if record.state is RunState.DONE and made:
        session.out.result(made[0], _made(made[0], cloud))
    elif session.out.as_json:
        session.out.json(record)
    return status


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


def pace_teller(session: Session, step: str, size: int | None) -> Callable[[int], None]:
    """Return what shows on a terminal how many bytes are through, how fast, and when all will be."""
    begun = session.machine.wall()

    def tell(done: int) -> None:
        if session.machine.stderr.isatty() and not session.out.as_json:
            text = f"{step}: {pace_text(done, size, session.machine.wall() - begun)}"
            # To the end of the line: what was there before may have been longer.
            session.machine.stderr.write(f"\r{text}\x1b[K" + ("\n" if done == size else ""))
            session.machine.stderr.flush()

    return tell


def pace_text(done: int, size: int | None, elapsed_s: float) -> str:
    """Return ``48 MiB of 120 MiB (40 %), 800 Mbit/s, 1.0 s left``, as far as it is known."""
    rate_bps = done * 8 / elapsed_s if elapsed_s >= 1 else 0.0
    if size is None:
        return size_text(done) + (f", {rate_text(rate_bps)}" if rate_bps else "")
    left_s = (size - done) * 8 / rate_bps if rate_bps and done < size else None
    return copy_text(Progress(artifact="", size=size, done=done, rate_bps=rate_bps, seconds_left=left_s))


def _size_of(stream: TextIO) -> int | None:
    """Return how much will come, when that is known: of a file."""
    facts = os.fstat(stream.fileno())
    return max(0, facts.st_size - stream.buffer.tell()) if stat.S_ISREG(facts.st_mode) else None


def _pieces(content: BinaryIO, tell: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    while piece := content.read(MIB):
        done += len(piece)
        tell(done)
        yield piece
