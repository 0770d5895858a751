"""Making embedded clouds for a site: what can be wrong is refused by field, and others' clouds stay."""

import json
from pathlib import Path

import pytest

from crossport import errors
from crossport.clouds.local.maker import LocalMaker
from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import State
from crossport.model.construct import KeyPair, Network, Quota
from crossport.model.request import CloudRequest
from crossport.testing.conformance.making import CloudMakerConformance

RESERVED = Network(name="VMExportSubnet", cidr="10.5.0.0/24")
WRONG = Network(name="x", cidr="10.5.0.0/33")
NO_KEY = KeyPair(name="k", public_key="no key", fingerprint="")
OFFICE = Network(name="office", cidr="10.5.0.0/24", gateway="10.5.0.1")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (CloudRequest(name="../up"), "name"),
        (CloudRequest(name=""), "name"),
        (CloudRequest(name="lab", isolation="none"), "network"),
        (CloudRequest(name="lab", zones=()), "zones"),
        (CloudRequest(name="lab", zones=("a", "a")), "zones"),
        (CloudRequest(name="lab", networks=(OFFICE, OFFICE)), "networks[1].name"),
        (CloudRequest(name="lab", networks=(WRONG,)), "networks[0].cidr"),
        (CloudRequest(name="lab", networks=(RESERVED,)), "networks[0].name"),
        (CloudRequest(name="lab", quota=Quota(vms=-1, cpus=1, memory=1, disk=1)), "quota.vms"),
        (CloudRequest(name="lab", keys=(NO_KEY,)), "public_key"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(tmp_path: Path, request_: CloudRequest, field: str):
    maker = LocalMaker(tmp_path / "clouds", lambda: "0123456789abcdef0123")
    with pytest.raises(errors.Error) as refusal:
        await maker.make("acme", request_)
    assert refusal.value.field == field
    assert refusal.value.remedy
    assert not list((tmp_path / "clouds").rglob("state.db"))


class TestLocalMaker(CloudMakerConformance):
    driver = "local"

    @pytest.fixture
    def maker(self, folder: Path) -> LocalMaker:
        return LocalMaker(folder, lambda: "0123456789abcdef0123")


async def test_the_users_of_a_cloud_are_written_down(tmp_path: Path):
    maker = LocalMaker(tmp_path / "clouds", lambda: "0123456789abcdef0123")
    for name in ("one", "two"):  # the tokens are the same, and so are the ids
        await maker.make("acme", CloudRequest(name=name))
    book: dict[str, list[str]] = json.loads((tmp_path / "clouds" / ".uid-ranges").read_text())
    assert [lies[-1] for lies in book.values()] == [
        str(tmp_path / f"clouds/acme/{name}") for name in ("one", "two")
    ]
    first, second = map(int, book)
    for name, number in (("one", first), ("two", second)):
        state = State(Layout(tmp_path / "clouds" / "acme" / name).state)
        assert state.fact("uid-range") == str(number)
        state.close()
    assert second == first + 1


async def test_clouds_of_a_release_without_a_book_keep_their_users(tmp_path: Path):
    maker = LocalMaker(tmp_path / "clouds", lambda: "0123456789abcdef0123")
    await maker.make("acme", CloudRequest(name="old"))
    (tmp_path / "clouds" / ".uid-ranges").unlink()
    (tmp_path / "clouds" / "acme" / "no-cloud").mkdir()
    (tmp_path / "clouds" / "acme" / "no-cloud" / "state.db").write_text("something else")
    state = State(Layout(tmp_path / "clouds" / "acme" / "old").state)
    usual = int(state.fact("uid-range"))
    state.remember("uid-range", "")  # as an older release left it
    await maker.make("acme", CloudRequest(name="new"))
    state.close()
    state = State(Layout(tmp_path / "clouds" / "acme" / "new").state)
    assert int(state.fact("uid-range")) == usual + 1
    state.close()
