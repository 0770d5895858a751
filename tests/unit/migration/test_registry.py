"""Clouds of tenants: secrets stay apart, connections follow their entries, and nothing crosses tenants."""

import dataclasses

import pytest
from tests.unit.migration.test_control import KeptSecrets

from crossport import errors
from crossport.migration.registry import CloudRegistry
from crossport.model import codec
from crossport.model.request import CloudEntry
from crossport.spi.cloud import Cloud
from crossport.spi.secret import Secrets
from crossport.testing.document import MemoryDocuments

PASSWORD = "correct horse"


class SomeCloud:
    """A connection that remembers with what it was made."""

    def __init__(self, entry: CloudEntry) -> None:
        self.name = entry.name
        self.entry = entry
        self.closed = False

    async def check(self) -> str:
        if self.entry.settings.get("address") == "nowhere":
            raise errors.Unavailable("cloud.unreachable", "Nobody answers there.")
        return "here"

    async def installation(self) -> str:
        return self.entry.settings.get("address", "")

    async def close(self) -> None:
        self.closed = True


class Keeper:
    """What the registry asks of an engine: where documents are kept."""

    def __init__(self) -> None:
        self.documents = MemoryDocuments()


class Shelf:
    def __init__(self) -> None:
        self.keeper = Keeper()
        self.secrets = KeptSecrets()
        self.made: list[SomeCloud] = []
        self.registry = CloudRegistry({"some": self.connect}, self.keeper, self.secrets)

    async def connect(self, entry: CloudEntry, secrets: Secrets) -> Cloud:
        self.made.append(SomeCloud(entry))
        return self.made[-1]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def entry(**settings: str) -> CloudEntry:
    return CloudEntry(name="alpha", driver="some", settings={"address": "here", **settings})


async def test_a_secret_is_kept_apart_and_shown_as_a_reference(shelf: Shelf):
    status = await shelf.registry.add("acme", entry(password=PASSWORD, api_token=PASSWORD))
    (kept,) = await shelf.registry.entries("acme")
    for shown in (codec.encoded(status), codec.encoded(kept), repr(kept)):
        assert PASSWORD not in shown
    reference = kept.settings["password"].removeprefix("secret:")
    assert shelf.secrets.kept[reference].reveal() == PASSWORD
    assert len(shelf.secrets.kept) == 2


async def test_secrets_go_with_their_cloud(shelf: Shelf):
    await shelf.registry.add("acme", entry(password=PASSWORD))
    await shelf.registry.remove("acme", "alpha")
    assert shelf.secrets.kept == {}


async def test_a_cloud_that_does_not_answer_is_not_kept_nor_its_secrets(shelf: Shelf):
    with pytest.raises(errors.Unavailable):
        await shelf.registry.add("acme", entry(address="nowhere", password=PASSWORD))
    assert await shelf.registry.entries("acme") == ()
    assert shelf.secrets.kept == {}
    assert [cloud.closed for cloud in shelf.made] == [True]


@pytest.mark.parametrize(
    "reference", ["cloud/rival/alpha/password", "site/ca-key", "cloud/acme/beta/password"]
)
async def test_a_reference_to_somebody_else_s_secret_is_refused(shelf: Shelf, reference: str):
    with pytest.raises(errors.Refused) as refusal:
        await shelf.registry.add("acme", entry(password=f"secret:{reference}"))
    assert (refusal.value.code, refusal.value.field) == ("cloud.secret.foreign", "settings.password")
    assert shelf.made == []


async def test_a_name_is_taken_once_per_tenant(shelf: Shelf):
    await shelf.registry.add("acme", entry())
    await shelf.registry.add("rival", entry())
    with pytest.raises(errors.Conflict, match=r"cloud\.name\.taken"):
        await shelf.registry.add("acme", entry())


async def test_an_unknown_driver_names_the_field(shelf: Shelf):
    with pytest.raises(errors.Invalid) as refusal:
        await shelf.registry.add("acme", dataclasses.replace(entry(), driver="other"))
    assert refusal.value.field == "driver"


async def test_a_connection_is_shared_until_the_entry_changes(shelf: Shelf):
    await shelf.registry.add("acme", entry(zone="one"))
    first = await shelf.registry.cloud("acme", "alpha")
    assert await shelf.registry.cloud("acme", "alpha") is first
    await shelf.registry.remove("acme", "alpha")
    await shelf.registry.add("acme", entry(zone="two"))
    second = await shelf.registry.cloud("acme", "alpha")
    assert isinstance(second, SomeCloud)
    assert second.entry.settings["zone"] == "two"


async def test_the_clouds_of_others_are_unknown(shelf: Shelf):
    await shelf.registry.add("rival", entry())
    with pytest.raises(errors.NotFound, match=r"cloud\.unknown"):
        await shelf.registry.cloud("acme", "alpha")
    assert await shelf.registry.entries("acme") == ()


async def test_one_installation_has_one_name_until_that_is_removed(shelf: Shelf):
    await shelf.registry.add("acme", named("alpha", address="here"))
    with pytest.raises(errors.Conflict) as refusal:
        await shelf.registry.add("acme", named("again", address="here", token="x"))
    assert (refusal.value.code, refusal.value.field) == ("cloud.installation.known", "settings")
    assert "alpha" in refusal.value.text + refusal.value.remedy
    assert [one.name for one in await shelf.registry.entries("acme")] == ["alpha"]
    assert shelf.secrets.kept == {}
    await shelf.registry.add("acme", named("beta", address="there"))
    await shelf.registry.add("others", named("theirs", address="here"))
    await shelf.registry.remove("acme", "alpha")
    await shelf.registry.add("acme", named("again", address="here"))


def named(name: str, **settings: str) -> CloudEntry:
    return CloudEntry(name=name, driver="some", settings=settings)
