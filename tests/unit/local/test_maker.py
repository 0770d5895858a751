"""Making embedded clouds for a site: what can be wrong is refused by field, and others' clouds stay."""

from pathlib import Path

import pytest

from crossport import errors
from crossport.clouds.local.maker import LocalMaker
from crossport.model.construct import KeyPair, Network, Quota
from crossport.model.request import CloudEntry, CloudRequest

RESERVED = Network(name="VMExportSubnet", cidr="10.5.0.0/24")
WRONG = Network(name="x", cidr="10.5.0.0/33")
NO_KEY = KeyPair(name="k", public_key="no key", fingerprint="")
OFFICE = Network(name="office", cidr="10.5.0.0/24", gateway="10.5.0.1")


@pytest.fixture
def maker(tmp_path: Path) -> LocalMaker:
    return LocalMaker(tmp_path / "clouds", lambda: "0123456789abcdef0123")


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
async def test_what_cannot_be_is_refused_by_field(
    maker: LocalMaker, tmp_path: Path, request_: CloudRequest, field: str
):
    with pytest.raises(errors.Error) as refusal:
        await maker.make("acme", request_)
    assert refusal.value.field == field
    assert refusal.value.remedy
    assert not list((tmp_path / "clouds").rglob("state.db"))


@pytest.mark.parametrize("tenant", [".", ".."])
async def test_a_tenant_cannot_leave_its_place(maker: LocalMaker, tenant: str):
    with pytest.raises(errors.Invalid):
        await maker.make(tenant, CloudRequest(name="lab"))


async def test_two_tenants_may_use_one_name(maker: LocalMaker, tmp_path: Path):
    for tenant in ("acme", "umbrella"):
        entry = await maker.make(tenant, CloudRequest(name="lab", networks=(OFFICE,)))
        assert Path(entry.settings["path"]) == tmp_path / "clouds" / tenant / "lab"
    with pytest.raises(errors.Conflict) as refusal:
        await maker.make("acme", CloudRequest(name="lab"))
    assert refusal.value.code == "cloud.exists"


async def test_only_a_cloud_of_the_tenant_s_own_is_destroyed(maker: LocalMaker, tmp_path: Path):
    theirs = await maker.make("umbrella", CloudRequest(name="lab"))
    elsewhere = CloudEntry(name="x", driver="local", settings={"path": str(tmp_path)})
    up = CloudEntry(name="x", driver="local", settings={"path": f"{tmp_path}/clouds/acme/../umbrella/lab"})
    for entry in (theirs, elsewhere, up, CloudEntry(name="x", driver="memory")):
        with pytest.raises(errors.Refused) as refusal:
            await maker.unmake("acme", entry, confirmed=True)
        assert refusal.value.code == "cloud.not-made-here"
    assert (Path(theirs.settings["path"]) / "state.db").exists()


async def test_one_whose_directory_is_gone_can_still_be_forgotten(maker: LocalMaker, tmp_path: Path):
    path = tmp_path / "clouds" / "acme" / "lab"
    entry = CloudEntry(name="lab", driver="local", settings={"path": str(path)})
    (said,) = await maker.unmake("acme", entry, confirmed=True)
    assert "is gone" in said
