"""Cedar's engine behind types of our own: the one module that knows its library.

The engine numbers policies by their order (``policy0``, …); their ids are annotations to it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cedarpy

from crossport.model.record import record

__all__ = ["Answer", "Entity", "Rules", "Schema", "parsed"]

library: Any = cedarpy
"""Its stubs leave open what dicts hold."""
Entity = Mapping[str, Any]
"""``uid`` (``type``, ``id``), ``attrs`` and ``parents``, as Cedar's JSON has them."""


@record()
class Answer:
    """What the engine said. ``policies`` are the ids of those that decided, ``errors`` of all that failed.

    An answer with errors is none, whatever ``allowed`` says: a policy that fails is passed over.
    """

    allowed: bool
    policies: tuple[str, ...]
    errors: tuple[str, ...]


class Schema:
    """What policies may speak of. Raises ValueError for a text that is none."""

    def __init__(self, text: str) -> None:
        self.handle = library.Schema.from_str(text)

    def misfits(self, policy: str) -> tuple[str, ...]:
        """Return what is wrong with one policy, empty for one that fits."""
        result = library.validate_policies(policy, self.handle)
        return tuple(str(each.error).removeprefix("for policy `policy0`, ") for each in result.errors)

    def has(self, entity: Entity) -> bool:
        """Say whether it knows the entity's type, and all its attributes."""
        try:
            library.Entities.from_json_str(json.dumps([entity]), self.handle)
        except ValueError:
            return False
        return True


class Rules:
    """Policies, parsed once, that are asked under a schema. Raises ValueError for texts that are none."""

    def __init__(self, policies: Iterable[str], schema: Schema) -> None:
        self._policies = library.PolicySet.from_str("\n".join(policies))
        self._schema = schema.handle

    def ask(self, principal: Entity, action: str, resource: Entity) -> Answer:
        """Return what the engine says; raise ValueError when the question cannot be put to it."""
        request = {
            "principal": principal["uid"],
            "action": {"type": "Action", "id": action},
            "resource": resource["uid"],
        }
        result = library.is_authorized(request, self._policies, [principal, resource], self._schema)
        told, named = result.diagnostics, result.diagnostics.id_annotations_by_reason
        return Answer(
            allowed=result.allowed,
            policies=tuple(sorted(str(named[number]) for number in told.reasons)),
            errors=tuple(str(error) for error in told.errors),
        )


def parsed(text: str) -> Sequence[Mapping[str, Any]]:
    """Return the policies in ``text`` in Cedar's JSON, empty for a template; raise ValueError."""
    library.PolicySet.from_str(text)
    read: dict[str, dict[str, Mapping[str, Any]]] = json.loads(library.policies_to_json_str(text))
    return (*read["staticPolicies"].values(), *({} for _ in read["templates"]))
