"""Secrets of a site with several nodes: sealed in the shared database, opened by whoever has the key."""

import os
from dataclasses import dataclass, field

import pytest

from crossport import errors
from crossport.app.sealed import SealedDocuments
from crossport.identity import MasterKeys, SealedSecrets
from crossport.spi.secret import Secret
from crossport.testing.document import MemoryDocuments

SECRET = Secret("correct horse")
KEY = bytes(range(32))


@dataclass
class Shared:
    """What the nodes share."""

    documents: MemoryDocuments = field(default_factory=MemoryDocuments)


def node(shared: Shared, key: bytes = KEY) -> SealedSecrets:
    return SealedSecrets(SealedDocuments(shared), MasterKeys((key,)), site="north", entropy=os.urandom)


async def test_another_node_with_the_same_key_opens_what_one_has_sealed():
    shared = Shared()
    await node(shared).put("cloud/alpha", SECRET)
    assert await node(shared).fetch("cloud/alpha") == SECRET
    await node(shared).forget("cloud/alpha")
    with pytest.raises(errors.NotFound):
        await node(shared).fetch("cloud/alpha")


async def test_a_node_with_another_key_is_told_so():
    shared = Shared()
    await node(shared).put("cloud/alpha", SECRET)
    with pytest.raises(errors.Broken, match=r"secret\.key\.missing"):
        await node(shared, bytes(32)).fetch("cloud/alpha")


async def test_every_secret_is_found_when_the_key_changes():
    shared = Shared()
    store = SealedDocuments(shared)
    for number in range(3):
        await store.write(f"s/{number}", b"sealed")
    assert await store.references() == ("s/0", "s/1", "s/2")
