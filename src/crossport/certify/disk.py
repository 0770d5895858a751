"""Check disks against a verified seal: their files (step 14), and what the guest sees (step 15).

Chunks are checked as they arrive, in any order, each by its Merkle path or by the list of leaves; a wrong one
is found before the next is taken. Without either, the whole disk in order, known at its end. Memory is a bit
for each chunk, and the leaves where they are used.
"""

from collections.abc import Iterable, Mapping, Sequence

from crossport import merkle
from crossport.certify.envelope import Subject
from crossport.certify.refusal import refused
from crossport.certify.verify import Verified
from crossport.model.certified import Manifest, SealedDisk
from crossport.model.conversion import ConvertedDisk

__all__ = ["Arriving", "InOrder", "check_files", "check_in_order", "measured"]


class Arriving:
    """The chunks of one disk, in any order, by several paths. Not thread-safe."""

    def __init__(self, verified: Verified, disk: str, leaves: Sequence[bytes] | None = None) -> None:
        """Take the disk with this id. ``leaves`` must lead to its root; without them each chunk needs its
        path."""
        self._disk = _disk(verified, disk)
        self._root = bytes.fromhex(self._disk.root)
        self.count = -(-self._disk.size // self._disk.chunk_size)
        self._leaves = leaves
        self._come = bytearray(-(-self.count // 8))
        if leaves is not None and not self._led(leaves):
            raise refused("seal.leaves.altered", disk=disk)

    def check(self, index: int, chunk: bytes, path: Sequence[bytes] = ()) -> None:
        """Note that chunk ``index`` came; raise Refused when it is not the sealed one."""
        digest = merkle.leaf(chunk)
        if not self._sealed(index, len(chunk), digest, path):
            raise refused("seal.chunk.altered", index=index, disk=self._disk.id)
        self._come[index >> 3] |= 1 << (index & 7)

    def finish(self) -> None:
        """Raise Refused unless every chunk came."""
        missing = self.count - int.from_bytes(self._come).bit_count()
        if missing:
            raise refused("seal.disk.incomplete", disk=self._disk.id, count=missing)

    def _sealed(self, index: int, size: int, digest: bytes, path: Sequence[bytes]) -> bool:
        if not 0 <= index < self.count or size != _length(self._disk, index):
            return False
        if self._leaves is not None:
            return self._leaves[index] == digest
        return merkle.root_along(digest, index, self.count, path) == self._root

    def _led(self, leaves: Sequence[bytes]) -> bool:
        tree = merkle.Tree(self._disk.chunk_size)
        for leaf in leaves:
            tree.add(leaf)
        return len(leaves) == self.count and tree.root() == self._root


class InOrder:
    """The chunks of one disk from the first to the last, without paths. Memory is the logarithm of their
    number."""

    def __init__(self, disk: SealedDisk | ConvertedDisk, about: Subject = "seal") -> None:
        """Take a disk of a verified seal, or conversion."""
        self._disk = disk
        self._about = about
        self._tree = merkle.Tree(self._disk.chunk_size)
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next chunk; the last one may be shorter."""
        self._tree.add(merkle.leaf(chunk))
        self._size += len(chunk)

    def add_zeros(self, count: int) -> None:
        """Take the next ``count`` whole chunks, all zeros."""
        self._tree.add_zeros(count)
        self._size += count * self._disk.chunk_size

    def finish(self) -> None:
        """Raise Refused unless these were the chunks of which was signed, all of them."""
        if self._size != self._disk.size or self._tree.root().hex() != self._disk.root:
            raise refused(f"{self._about}.disk.content", disk=self._disk.id)


def check_in_order(check: InOrder, chunks: Iterable[bytes | int]) -> None:
    """Take all chunks of a disk, a number for so many of zeros; raise Refused unless they are it."""
    for chunk in chunks:
        if isinstance(chunk, int):
            check.add_zeros(chunk)
        else:
            check.add(chunk)
    check.finish()


def measured(disk: str, chunk_size: int, chunks: Iterable[bytes | int]) -> ConvertedDisk:
    """Return a disk as a conversion names it, from all its chunks in order; a number is so many of zeros."""
    tree, size = merkle.Tree(chunk_size), 0
    for chunk in chunks:
        if isinstance(chunk, int):
            tree.add_zeros(chunk)
            size += chunk * chunk_size
        else:
            tree.add(merkle.leaf(chunk))
            size += len(chunk)
    return ConvertedDisk(id=disk, size=size, chunk_size=chunk_size, root=tree.root().hex())


def check_files(manifest: Manifest, found: Mapping[str, tuple[int, str]]) -> None:
    """Compare the files of the disks: length and hex SHA-256 by name, of every file that the manifest names.

    Raise Refused naming the file, and the disk that it holds instead when it is another one of this image.
    """
    for disk in manifest.disks:
        if disk.file is None or found[disk.file] == (disk.file_size, disk.sha256):
            continue
        for other in manifest.disks:
            if other.file and found[disk.file] == (other.file_size, other.sha256):
                again = found[other.file] == found[disk.file]
                code = "seal.disk.repeated" if again else "seal.disk.swapped"
                raise refused(code, field=disk.file, name=disk.file, disk=disk.id, other=other.id)
        raise refused("seal.disk.altered", field=disk.file, name=disk.file, disk=disk.id)


def _disk(verified: Verified, wanted: str) -> SealedDisk:
    return next(disk for disk in verified.seal.manifest.disks if disk.id == wanted)


def _length(disk: SealedDisk, index: int) -> int:
    return min(disk.chunk_size, disk.size - index * disk.chunk_size)
