"""Who asks for what, and what was decided: the nouns of authorization."""

from crossport.model.access import Right, Role
from crossport.model.record import record

__all__ = ["Decision", "Principal", "Question", "Resource"]


@record()
class Principal:
    """Who makes a request, in whose name, and what it may do.

    ``token`` is the id of a token. ``rights`` are those of its role with those that were given to it by name;
    ``role`` None is a caller whose rights no role describes. ``subject`` and ``issuer`` say who signed in
    where, empty for a token of the site's own. ``partner`` is the site that asks in the name of ``tenant``,
    empty for callers of the API. ``clouds``, ``vms``, ``runs`` and ``projects`` are ceilings: nothing beyond
    these; None is none.
    """

    tenant: str
    token: str = ""
    rights: frozenset[Right] = frozenset()
    role: Role | None = None
    subject: str = ""
    issuer: str = ""
    partner: str = ""
    clouds: tuple[str, ...] | None = None
    vms: tuple[str, ...] | None = None
    runs: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None


@record()
class Resource:
    """What is touched, as far as the request tells; nobody looks whether it exists.

    ``kind`` is the word before the dot of the operation. ``id`` is empty where many are meant, or where the
    request's word is no id. ``tenant`` is whose it is; what belongs to the site itself has none, and the word
    is ignored there. ``clouds`` are those that it lies in or goes between, empty when that is not known;
    ``run`` is the run that it is, or that left it.
    """

    kind: str
    tenant: str
    id: str = ""
    clouds: tuple[str, ...] = ()
    run: str = ""


@record()
class Question:
    """May ``principal`` do ``operation`` (``run.cancel``) with ``resource``?"""

    principal: Principal
    operation: str
    resource: Resource


@record()
class Decision:
    """The answer. ``policies`` are the ids of those that decided; ``reason`` is what they say for a person.

    A denial without ``policies`` is one because none permits; ``lacking`` are those that would, for callers
    with other rights.
    """

    allowed: bool
    policies: tuple[str, ...]
    reason: str
    lacking: tuple[str, ...] = ()
