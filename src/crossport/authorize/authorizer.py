"""Questions to Cedar, and its answers. Nothing of a request ever becomes text of a policy.

Principal, action and resource go in as JSON: no id, however it is spelt, is read as anything but itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from crossport import errors
from crossport.authorize.book import PolicyBook
from crossport.authorize.cedar import Answer, Entity, Rules, Schema
from crossport.model.access import Right
from crossport.model.authorization import Decision, Principal, Question, Resource

__all__ = ["PolicyAuthorizer"]

NOBODY = "No policy permits it."
SHAPES = (("tenant", "clouds", "run"), ("tenant", "clouds"))
SAMPLE: Mapping[str, Any] = {"tenant": "", "clouds": [], "run": ""}
"""Which attributes kinds of resources have. What is the site's own has none."""


class PolicyAuthorizer:
    """Decides by the policies of a book, which it parses once."""

    def __init__(self, book: PolicyBook) -> None:
        self._policies = book.policies
        self._schema = Schema(book.schema)
        self._rules = Rules((one.text for one in book.policies.values()), self._schema)
        self._shapes = dict[str, tuple[str, ...]]()
        self._permitting = dict[str, tuple[str, ...]]()

    def require(self, operations: Iterable[str]) -> None:
        """Raise Broken (``authorization.operation.unruled``) naming what the schema does not have."""
        for operation in operations:
            if answer := self._asked(_anybody(operation, frozenset())).errors:
                raise errors.Broken(
                    "authorization.operation.unruled",
                    f"The schema of the policies does not have {operation}.",
                    field=operation,
                    remedy="Add it to the group of the right that it takes, in schema.cedarschema.",
                ) from ValueError(*answer)

    def permitting(self, operation: str) -> tuple[str, ...]:
        """Return the ids of the policies that permit ``operation`` to a caller with one right or another."""
        if operation not in self._permitting:
            found = dict[str, None]()
            for right in Right:
                answer = self._asked(_anybody(operation, frozenset({right})))
                found.update(dict.fromkeys(answer.policies if answer.allowed else ()))
            self._permitting[operation] = tuple(found)
        return self._permitting[operation]

    def decide(self, question: Question) -> Decision:
        """Answer; raise Broken (``authorization.evaluation.failed``) when a policy cannot be evaluated."""
        answer = self._asked(question)
        if answer.errors:
            # A policy that fails is passed over. One that forbids would so permit.
            raise errors.Broken(
                "authorization.evaluation.failed",
                f"A policy about {question.operation} cannot be evaluated, so that it is not allowed.",
                remedy="The operator finds in the site's log which one it is, and corrects it.",
            ) from ValueError(*answer.errors)
        lacking = () if answer.policies else self.permitting(question.operation)
        reasons = dict.fromkeys(self._policies[one].reason for one in answer.policies or lacking)
        return Decision(
            allowed=answer.allowed,
            policies=answer.policies,
            reason=" ".join(reasons) or NOBODY,
            lacking=lacking,
        )

    def _asked(self, question: Question) -> Answer:
        caller, resource = _caller(question.principal), self._resource(question.resource)
        try:
            return self._rules.ask(caller, question.operation, resource)
        except ValueError as error:
            raise errors.Broken(
                "authorization.question.invalid",
                f"The question about {question.operation} cannot be put to the policies: it is not allowed.",
                remedy=errors.REPORT,
            ) from error

    def _resource(self, resource: Resource) -> Entity:
        kind = resource.kind.capitalize()
        if kind not in self._shapes:
            self._shapes[kind] = self._shape(kind)
        told = {"tenant": resource.tenant, "clouds": resource.clouds, "run": resource.run}
        # An empty set of clouds would lie within every ceiling.
        attributes = {name: told[name] for name in self._shapes[kind] if told[name] or name == "tenant"}
        return _entity(kind, resource.id, attributes)

    def _shape(self, kind: str) -> tuple[str, ...]:
        """Return the attributes that ``kind`` has in the schema; none for one that it does not have."""
        samples = ({name: SAMPLE[name] for name in shape} for shape in SHAPES)
        return next((tuple(one) for one in samples if self._schema.has(_entity(kind, "", one))), ())


def _caller(principal: Principal) -> Entity:
    attributes: dict[str, Any] = {"tenant": principal.tenant}
    for name in ("role", "subject", "issuer", "partner"):
        if told := getattr(principal, name):
            attributes[name] = told
    for name in ("clouds", "vms", "runs", "projects"):
        if (ceiling := getattr(principal, name)) is not None:
            attributes[name] = ceiling
    rights = [{"type": "Right", "id": right.value} for right in sorted(principal.rights)]
    return _entity("Caller", principal.token, attributes, rights)


def _entity(
    kind: str,
    name: str,
    attributes: Mapping[str, Any],
    parents: Iterable[Mapping[str, str]] = (),
) -> Entity:
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": [*parents]}


def _anybody(operation: str, rights: frozenset[Right]) -> Question:
    """Return the question of a caller with nothing but ``rights`` about a thing of its own tenant."""
    kind = operation.partition(".")[0]
    return Question(
        principal=Principal(tenant="", rights=rights),
        operation=operation,
        resource=Resource(kind=kind, tenant=""),
    )
