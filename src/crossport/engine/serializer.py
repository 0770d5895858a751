"""What the library below may read and write: JSON. Its own format is pickle, which executes what it reads.

The library chooses the format by a column of the row, so a row that says pickle would be unpickled
whatever serializer is set. ``refuse_pickle`` closes that path for the whole process.
"""

import json
from typing import Any

import dbos
from dbos import _serialization as library  # pyright: ignore[reportPrivateUsage]

from crossport import errors
from crossport.model import codec
from crossport.model.failure import Failure

__all__ = ["JsonSerializer", "refuse_pickle"]


class JsonSerializer(dbos.Serializer):
    """Plain JSON values, and errors as Failure."""

    def name(self) -> str:
        """Return what the library writes beside every value."""
        return "crossport_json"

    def serialize(self, data: Any) -> str:
        """Return ``data`` as JSON; a value that is none is a mistake in the engine."""
        if isinstance(data, BaseException):
            data = {"$failure": codec.plain(Failure.of(_ours(data)))}
        return json.dumps(data, allow_nan=False)

    def deserialize(self, serialized_data: str) -> Any:
        """Return the value; raise Refused ``engine.row.refused`` if it is not JSON."""
        try:
            value: Any = json.loads(serialized_data)
        except ValueError:
            raise _refused("is not JSON") from None
        match value:
            case {"$failure": failure}:
                return codec.from_plain(failure, Failure).error()
            case _:
                return value


def refuse_pickle() -> None:
    """Make the library refuse rows that say that they are pickled, instead of executing them."""

    def deserialize(_self: object, _text: str) -> Any:
        raise _refused("is pickled")

    setattr(library.DefaultSerializer, "deserialize", deserialize)  # noqa: B010 -- its type is the library's


def _ours(error: BaseException) -> errors.Error:
    if isinstance(error, errors.Error):
        return error
    return errors.Broken("engine.run.unexpected", f"{type(error).__name__}: {error}", remedy=errors.REPORT)


def _refused(why: str) -> errors.Refused:
    return errors.Refused(
        "engine.row.refused",
        f"A row of the engine's database {why}; Crossport never wrote it.",
        remedy="Find out who writes to this database, and restore it from a backup.",
    )
