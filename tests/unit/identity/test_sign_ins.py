"""Sign-ins that are kept: a node drops old ones while another notes new ones, in every order of their calls.

The nodes share the documents and secrets of their site. Each call of either is a turn; all orders are tried.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from itertools import count
from types import coroutine
from typing import Any, cast

import pytest

from crossport import errors
from crossport.identity.federation.introspection import Introspection
from crossport.identity.federation.sign_ins import SignIns
from crossport.model.federation import Provider, Subject
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret
from crossport.testing.document import MemoryDocuments

ACME = Provider(
    name="acme", issuer="https://login.example", audience="https://site.example", introspector="crossport"
)
ALICE = Subject(issuer=ACME.issuer, sub="alice")
BOB = Subject(issuer=ACME.issuer, sub="bob")
OLD, NEW, NEWER = "old-token", "new-token", "newer-token"
BEFORE, NOW, LATER = 500.0, 1000.0, 9000.0
Turn = Callable[[], Any]


@coroutine
def _turn() -> Generator[None]:
    yield


class Vault:
    """Secrets of a site, all that there are."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def put(self, reference: str, secret: Secret) -> None:
        self.kept[reference] = secret.reveal()

    async def fetch(self, reference: str) -> Secret:
        if reference not in self.kept:
            raise errors.NotFound("secret.unknown", f"There is no secret {reference}.", remedy="None.")
        return Secret(self.kept[reference])

    async def forget(self, reference: str) -> None:
        self.kept.pop(reference, None)


class ByTurns:
    """The same store, each call of which waits for its turn."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)

        async def turned(*words: Any, **options: Any) -> Any:
            await _turn()
            return await call(*words, **options)

        return turned


class Asked:
    """A provider that is asked, and says that nothing counts any more."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def told(self, provider: Provider, token: str) -> Mapping[str, Any]:
        self.shown.append(token)
        return {}


class Now:
    def wall(self) -> float:
        return NOW


class Shared:
    """What the nodes of a site share."""

    def __init__(self) -> None:
        self.documents, self.vault, self.provider = MemoryDocuments(), Vault(), Asked()
        self._number = count(1)

    def node(self, *, by_turns: bool = True) -> SignIns:
        shown = (ByTurns(each) if by_turns else each for each in (self.documents, self.vault))
        documents, vault = (cast("Any", each) for each in shown)
        asked, now = cast("Introspection", self.provider), cast("Clock", Now())
        return SignIns(documents, vault, asked, now, lambda size: next(self._number).to_bytes(size, "big"))

    def check(self, *possible: str) -> None:
        """One sign-in is kept, its token is there and is the only one, and the provider is shown it."""
        assert asyncio.run(self.node(by_turns=False).ended([ALICE], (ACME,))) == {ALICE}
        assert len(self.provider.shown) == 1
        assert self.provider.shown[0] in possible
        assert self.provider.shown == list(self.vault.kept.values())


def played(order: str, *works: Any) -> str:
    """Give turns in ``order`` ('0' and '1'), and then to who is left; return the turns that were taken."""
    left, taken = dict(enumerate(works)), ""
    while left:
        wanted = int(order[len(taken)]) if len(taken) < len(order) else min(left)
        which = wanted if wanted in left else min(left)
        try:
            left[which].send(None)
        except StopIteration:
            del left[which]
        taken += str(which)
    return taken


def orders(longest: int) -> Generator[str]:
    """Yield every way in which two works can share that many turns."""
    yield from (f"{number:0{longest}b}" for number in range(2**longest))


@pytest.mark.parametrize("noted", [(NEW,), (NEW, NEWER)], ids=["dropped", "both new"])
def test_no_order_of_two_nodes_loses_the_token_of_the_last_sign_in(noted: tuple[str, ...]):
    seen = set[str]()
    for order in orders(11):
        shared = Shared()
        until = BEFORE if len(noted) == 1 else LATER
        asyncio.run(shared.node(by_turns=False).note(ACME, ALICE, OLD, until))
        works = [shared.node().note(ACME, ALICE, token, LATER) for token in noted]
        if len(noted) == 1:
            unasked = Provider(name="other", issuer="https://other.example", audience="x")
            works.append(shared.node().note(unasked, BOB, "never kept", LATER))  # it only drops
        seen.add(played(order, *works))
        shared.check(*noted)
    assert len(seen) > 50
