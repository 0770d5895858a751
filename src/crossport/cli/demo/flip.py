"""Flip one bit of a copy, as a disk that rots would: the chaos of the demonstration registers this as a hook.

``python flip.py FOLDER TEXT`` looks for TEXT in the volume of FOLDER that was written last, and flips the
lowest bit of its first byte. It knows nothing of formats and needs only Python's standard library.
"""

import mmap
import sys
from pathlib import Path

__all__ = ["flipped", "main"]


def flipped(folder: Path, text: bytes) -> Path:
    """Flip the bit and return the file; raise LookupError when the text is not in it."""
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda p: p.stat().st_mtime_ns)
    if not files:
        raise LookupError(f"there is no volume in {folder}")
    with files[-1].open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(text)
        if place < 0:
            raise LookupError(f"{files[-1].name} does not contain the text")
        content[place] ^= 1
        content.flush()
    return files[-1]


def main(arguments: list[str]) -> int:
    """Do it; the status is 1, with a reason, when there was nothing to flip."""
    folder, text = arguments
    try:
        flipped(Path(folder), text.encode())
    except (LookupError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
