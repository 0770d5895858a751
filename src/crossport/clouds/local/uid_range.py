"""Which users of this machine are a cloud's: a range for each, which no other cloud of the same site has."""

import json
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from crossport import errors
from crossport.identity import private_file

__all__ = ["COUNT", "RangeBook", "first_uid", "usual"]

# Below 2^31, above what packages and systemd allocate: 60 000 users for each of 2 000 clouds.
_FIRST = 1_900_000_000
COUNT = 60_000
_RANGES = 2_000


def usual(cloud_id: str) -> int:
    """Return the range that a cloud has unless another has it already."""
    return int(cloud_id, 16) % _RANGES


def first_uid(number: int) -> int:
    """Return the first user of a range, which has ``COUNT``."""
    return _FIRST + number * COUNT


class RangeBook:
    """The ranges that are taken, in a file: by number, the directories of the cloud that has it.

    Without the file, or when it cannot be read, it is made from what ``known`` says: the clouds that exist
    with their ranges. So clouds of a release that kept no book keep theirs, too.
    """

    def __init__(self, file: Path, known: Callable[[], Iterable[tuple[int, Path]]] = tuple) -> None:
        self._file = file
        self._known = known

    def take(self, cloud_id: str, *places: Path) -> int:
        """Give the cloud that lies in one of the ``places`` a range of its own. Durable on return.

        It is the cloud's as long as one of them exists. Raise Blocked when all ranges are taken.
        """
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private_file.locked(self._file.parent):
            taken = {
                number: lies
                for number, lies in self._kept().items()
                if any(Path(one).exists() for one in lies)
            }
            number = _free(usual(cloud_id), taken)
            taken[str(number)] = [str(place) for place in places]
            private_file.write(self._file, json.dumps(taken).encode())
        return number

    def _kept(self) -> dict[str, list[str]]:
        try:
            return dict(json.loads(self._file.read_bytes()))
        except (
            FileNotFoundError,
            ValueError,
        ):  # the second: written by a release that did not write it whole
            found = dict[str, list[str]]()
            for number, place in self._known():
                found.setdefault(str(number), []).append(str(place))
            return found


def _free(wanted: int, taken: Container[str]) -> int:
    for step in range(_RANGES):
        number = (wanted + step) % _RANGES
        if str(number) not in taken:
            return number
    raise errors.Blocked(
        "cloud.users.none",
        f"All {_RANGES} ranges of users are taken by other clouds of this machine.",
        remedy="Destroy clouds that nobody needs: crossport cloud destroy.",
    )
