"""Run qemu-img: confined, and told the format, so that it never guesses and never follows a reference.

Images are named to qemu-img as JSON nodes with the driver stated; where a format can name a backing image,
the node says ``backing: null`` unless the caller names that image itself. The target of `QemuImg.convert`
and `QemuImg.create` is made beforehand and is the only thing the tool may write. Failures become errors of
ours with the last lines of what the tool said.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from crossport import errors
from crossport.hypervisor.confine import NOBODY, Completed, Confinement, Limits, run
from crossport.model.artifact import Extent

__all__ = ["Check", "Description", "Driver", "Image", "Measure", "QemuImg", "progress_of"]

Driver = Literal["raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi"]

_PROGRESS = re.compile(rb"\((\d{1,3}(?:\.\d{1,2})?)/100%\)")
# qemu-img needs far less; the rest is room for caches and thread stacks.
_ADDRESS_SPACE = 2 << 30
_SAID = 400


@dataclass(frozen=True, slots=True)
class Image:
    """An existing image file and what it is. ``backing`` names its backing image; without it none is
    followed.

    ``shared`` opens an image that a running QEMU holds; what is read then may be older than what the guest
    wrote. ``window`` (start and size, in whole sectors) says where in the file the image lies, when the file
    is an archive. ``descriptor`` is the file, open: then it is read, whatever its name means by now.
    """

    path: Path
    driver: Driver
    backing: "Image | None" = None
    shared: bool = False
    window: tuple[int, int] | None = None
    descriptor: int | None = None

    def node(self) -> dict[str, Any]:
        """Return the block node that opens this image (qapi BlockdevOptions)."""
        name = str(self.path) if self.descriptor is None else f"/proc/self/fd/{self.descriptor}"
        protocol: dict[str, Any] = {"driver": "file", "filename": name}
        if self.window is not None:
            start, size = self.window
            protocol = {"driver": "raw", "offset": start, "size": size, "file": protocol}
        node: dict[str, Any] = {"driver": self.driver, "file": protocol}
        if self.driver in {"qcow2", "vmdk"}:
            node["backing"] = self.backing.node() if self.backing else None
        if self.driver == "vpc":
            # By default QEMU trusts the geometry of some writers and cuts their disks short.
            node["force_size_calc"] = "current_size"
        if self.shared:
            node["force-share"] = True
        return node

    def files(self) -> tuple[Path, ...]:
        """Return every file that opening this image opens by its name."""
        own = (self.path,) if self.descriptor is None else ()
        return (*own, *(self.backing.files() if self.backing else ()))

    def descriptors(self) -> tuple[int, ...]:
        """Return every open file that this image is read from."""
        own = () if self.descriptor is None else (self.descriptor,)
        return (*own, *(self.backing.descriptors() if self.backing else ()))


@dataclass(frozen=True, slots=True)
class Description:
    """What qemu-img says about an image. Sizes in bytes; ``allocated`` is what the file occupies.

    ``bitmaps`` are the dirty bitmaps kept in it, with whether they can be relied on: one that was in use when
    its QEMU was killed cannot.
    """

    driver: str
    virtual_size: int
    allocated: int
    backing: str
    snapshots: tuple[str, ...]
    bitmaps: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """The consistency of an image's tables. Leaks waste space; corruptions lose data."""

    corruptions: int
    leaks: int


@dataclass(frozen=True, slots=True)
class Measure:
    """Bytes a target file will need for the data now in the source, and if every block were written."""

    required: int
    full: int


@dataclass(frozen=True, slots=True)
class QemuImg:
    """The tool with its bounds. Every call may raise Unavailable (timeout, not installed) and Conflict
    (locked)."""

    timeout_s: float = 4 * 3600.0
    uid: int = NOBODY
    program: str = "qemu-img"

    async def info(self, image: Image) -> Description:
        """Describe ``image`` without reading its data."""
        facts = await self._json("info", image, "--output=json")
        snapshots = tuple(str(each["name"]) for each in facts.get("snapshots", ()))
        kept = facts.get("format-specific", {}).get("data", {}).get("bitmaps", ())
        return Description(
            driver=str(facts["format"]),
            virtual_size=int(facts["virtual-size"]),
            allocated=int(facts.get("actual-size", 0)),
            backing=str(facts.get("backing-filename", "")),
            snapshots=snapshots,
            bitmaps=tuple((str(each["name"]), "in-use" not in each["flags"]) for each in kept),
        )

    async def create(
        self, path: Path, driver: Driver, size: int, options: Mapping[str, str] | None = None
    ) -> None:
        """Make a new image of ``size`` bytes. Raise Conflict ``hypervisor.file.exists`` if ``path``
        exists."""
        _make(path)
        argv = [self.program, "create", "-q", "-f", driver, *_options(options), str(path), str(size)]
        await self._succeed(argv, self._confinement(write=(path,)))

    async def convert(
        self,
        source: Image,
        path: Path,
        driver: Driver,
        *,
        options: Mapping[str, str] | None = None,
        file_size: int | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Write what a guest sees of ``source`` to a new file ``path``, durably on return.

        ``file_size`` bounds the target file in bytes, ``on_progress`` is told the finished share, 0 to 1.
        Whatever goes wrong, and on cancellation, the target is removed. Raise Conflict
        ``hypervisor.file.exists`` if ``path`` exists, NeedsAttention ``hypervisor.space.exhausted`` when
        the disk or the bound is full.
        """
        _make(path)
        # -t writeback: the default, unsafe, returns before the data is on the disk.
        argv = [self.program, "convert", "-p", "-t", "writeback", "-O", driver, *_options(options)]
        confinement = self._reading(source, write=(path,))
        confinement = replace(confinement, limits=replace(confinement.limits, file_size=file_size))
        try:
            await self._succeed([*argv, _named(source), str(path)], confinement, _percent(on_progress))
        except BaseException:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - one call on a local file
            raise

    async def resize(self, image: Image, size: int) -> None:
        """Grow ``image`` to ``size`` bytes, in place. Never shrinks: raise Invalid
        ``hypervisor.image.shrink``."""
        if size < (await self.info(image)).virtual_size:
            raise errors.Invalid(
                "hypervisor.image.shrink",
                f"{image.path.name} is larger than {size} bytes.",
                remedy="Choose a size that is not smaller; shrinking would cut data off.",
            )
        argv = [self.program, "resize", "-q", _named(image), str(size)]
        await self._succeed(argv, self._confinement(write=image.files()))

    async def add_bitmap(self, image: Image, name: str) -> None:
        """Begin a dirty bitmap in the qcow2 ``image``: it knows everything written from now on."""
        argv = [self.program, "bitmap", "--add", _named(image), name]
        await self._succeed(argv, self._confinement(write=image.files()))

    async def remove_bitmap(self, image: Image, name: str) -> None:
        """Remove a dirty bitmap, whether or not it can be relied on."""
        argv = [self.program, "bitmap", "--remove", _named(image), name]
        await self._succeed(argv, self._confinement(write=image.files()))

    async def check(self, image: Image) -> Check:
        """Check the tables of ``image`` without repairing. Raw has none and is always well."""
        if image.driver == "raw":
            return Check(0, 0)
        argv = [self.program, "check", "--output=json", _named(image)]
        done = await run(argv, self._reading(image), timeout_s=self.timeout_s)
        # 2 and 3 are findings (corruption, leaks), 63 says that the format has no check (qemu-img(1)).
        if done.status == 63:
            return Check(0, 0)
        if done.status not in {0, 2, 3}:
            raise _failure(done)
        facts = _parsed(done)
        corruptions = int(facts.get("corruptions", 0)) + int(facts.get("check-errors", 0))
        return Check(corruptions, int(facts.get("leaks", 0)))

    async def measure(self, image: Image, driver: Driver) -> Measure:
        """Say how large ``image`` will be as ``driver`` (qcow2 and raw only)."""
        facts = await self._json("measure", image, "--output=json", "-O", driver)
        return Measure(int(facts["required"]), int(facts["fully-allocated"]))

    async def compare(self, left: Image, right: Image) -> bool:
        """Say whether a guest sees the same in both, of the same size."""
        # Strict mode (-s) would also compare what is allocated; without it a tail of zeros counts as equal.
        if (await self.info(left)).virtual_size != (await self.info(right)).virtual_size:
            return False
        argv = [self.program, "compare", "-q", _named(left), _named(right)]
        done = await run(argv, self._reading(left, right), timeout_s=self.timeout_s)
        if done.status > 1 or done.status < 0:
            raise _failure(done)
        return done.status == 0

    async def map(self, image: Image) -> tuple[Extent, ...]:
        """Return the extents of ``image`` in order; ``zero`` where nothing has to be read."""
        done = await self._succeed(
            [self.program, "map", "--output=json", _named(image)], self._reading(image)
        )
        return tuple(
            Extent(start=int(each["start"]), size=int(each["length"]), zero=bool(each["zero"]))
            for each in _parsed(done)
        )

    async def _json(self, verb: str, image: Image, *arguments: str) -> dict[str, Any]:
        argv = [self.program, verb, *arguments, _named(image)]
        done = await self._succeed(argv, self._reading(image))
        facts: dict[str, Any] = _parsed(done)
        return facts

    async def _succeed(
        self,
        argv: Sequence[str],
        confinement: Confinement,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Completed:
        done = await run(argv, confinement, timeout_s=self.timeout_s, on_output=on_output)
        if done.status != 0:
            raise _failure(done)
        return done

    def _reading(self, *images: Image, write: tuple[Path, ...] = ()) -> Confinement:
        files = dict.fromkeys(path for image in images for path in image.files())
        descriptors = dict.fromkeys(number for image in images for number in image.descriptors())
        return replace(self._confinement(write=write), read=tuple(files), descriptors=tuple(descriptors))

    def _confinement(self, *, write: tuple[Path, ...]) -> Confinement:
        limits = Limits(address_space=_ADDRESS_SPACE, cpu_s=round(self.timeout_s))
        return Confinement(write=write, limits=limits, uid=self.uid, gid=self.uid)


def progress_of(output: bytes) -> float | None:
    """Return the last share (0 to 1) that ``qemu-img -p`` printed in ``output``; None if it printed none."""
    found = _PROGRESS.findall(output)
    return min(float(found[-1]) / 100, 1.0) if found else None


def _percent(on_progress: Callable[[float], None] | None) -> Callable[[bytes], None] | None:
    if on_progress is None:
        return None
    rest = b""

    def take(piece: bytes) -> None:
        nonlocal rest
        rest = (rest + piece)[-256:]
        share = progress_of(rest)
        if share is not None:
            on_progress(share)

    return take


def _named(image: Image) -> str:
    return "json:" + json.dumps(image.node())


def _options(options: Mapping[str, str] | None) -> list[str]:
    return [word for name, value in (options or {}).items() for word in ("-o", f"{name}={value}")]


def _make(path: Path) -> None:
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise errors.Conflict(
            "hypervisor.file.exists",
            f"{path} exists already.",
            remedy="Name a new file or remove the old one.",
        ) from error
    except FileNotFoundError as error:
        raise errors.NotFound(
            "hypervisor.file.missing", f"There is no directory {path.parent}.", remedy="Correct the path."
        ) from error


def _parsed(done: Completed) -> Any:
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise _failure(done) from error


def _failure(done: Completed) -> errors.Error:
    said = " ".join(done.stderr.split())[-_SAID:] or f"status {done.status}"
    verb = " ".join(done.argv[:2])
    if "No space left" in said or "File too large" in said:
        return errors.NeedsAttention(
            "hypervisor.space.exhausted",
            f"{verb} ran out of space: {said.rstrip('.')}.",
            remedy="Free space at the target, or choose another place, and try again.",
        )
    if 'Failed to get "' in said and "lock" in said:
        return errors.Conflict(
            "hypervisor.image.busy",
            f"Another process uses the image: {said}",
            remedy="Stop the VM or the program that uses it, and try again.",
        )
    return errors.Broken(
        "hypervisor.qemu-img.failed",
        f"{verb} failed: {said}",
        remedy="Look whether the image is whole and there is room for it; then try again.",
    )
