"""How a route of the API is declared: what it touches and what it does stands beside its path.

Who may call it is said by the policies, which know it by its operation.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from fastapi.responses import Response

from crossport.model.record import record

__all__ = ["ID", "Route"]

ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
"""Ids that programs make: runs, tokens, VMs of clouds."""


@record(kw_only=False)
class Route:
    """One operation. A ``public`` one takes no token: it tells nothing, or gives one.

    ``operation`` reads ``resource.action`` (``run.cancel``): what is touched, and what is done with it.
    ``example`` is what a good answer looks like, ``body`` the class of the request, ``sent`` a request that
    is accepted. ``raises`` are the statuses beside those that every route can answer. ``stream`` routes
    answer with server-sent events; ``before`` is called first, because no error can be told once a stream
    has begun. ``upload`` routes take bytes instead of JSON, many of them, ``form`` routes an HTML
    form. ``names`` says where the answer to a request that made something has its id, by the name of the
    path parameter (OpenAPI runtime expressions): links to the operations on the new thing.
    """

    method: str
    path: str
    operation: str
    call: Callable[..., Any]
    example: Any = None
    status: int = 200
    body: Any = None
    sent: Any = None
    raises: tuple[int, ...] = ()
    response: type[Response] | None = None
    stream: bool = False
    before: Callable[..., Any] | None = None
    upload: bool = False
    public: bool = False
    form: bool = False
    names: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def resource(self) -> str:
        """Return what is touched."""
        return self.operation.partition(".")[0]

    @property
    def action(self) -> str:
        """Return what is done with it."""
        return self.operation.partition(".")[2]
