"""An error as data: kept by a run, sent to a client, raised again as the same error elsewhere."""

from typing import Self

from crossport import errors
from crossport.model.record import record

__all__ = ["Failure"]


@record()
class Failure:
    """What an errors.Error said. ``kind`` is the name of its class in ``crossport.errors``."""

    kind: str
    code: str
    text: str
    remedy: str = ""
    field: str = ""

    @classmethod
    def of(cls, error: errors.Error) -> Self:
        """Return ``error`` as data; a class of somebody's own becomes the nearest one of ours."""
        ours = next(kind for kind in type(error).__mro__ if kind.__name__ in errors.__all__)
        return cls(
            kind=ours.__name__, code=error.code, text=error.text, remedy=error.remedy, field=error.field
        )

    def error(self) -> errors.Error:
        """Return the error, to be raised. A kind that is not known is Broken."""
        kind = getattr(errors, self.kind, None) if self.kind in errors.__all__ else None
        if not (isinstance(kind, type) and issubclass(kind, errors.Error)):
            kind = errors.Broken
        return kind(self.code, self.text, remedy=self.remedy, field=self.field)
