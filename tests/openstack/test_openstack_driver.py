"""The driver tells of a real OpenStack cloud what is there; nothing is replayed here."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.openstack.clouds import Project, connected, entry_of
from tests.openstack.scene import WEB_MAC, Scene, scene
from tests.unit.migration.test_control import KeptSecrets

from crossport import errors
from crossport.clouds.openstack import OpenStackCloud, connect
from crossport.model.request import CloudEntry
from crossport.model.vm import DiskBus, NicModel, PowerState

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(900),
    # openstacksdk warns of how it calls itself.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def made(projects: dict[str, Project], guest_disk: Path) -> Generator[Scene]:
    with scene(projects["north"], guest_disk, "10.1.0.0/24") as made:
        yield made


async def north() -> OpenStackCloud:
    return await connect(entry_of("north"), KeptSecrets())


async def test_servers_are_told_as_they_were_made(made: Scene):
    cloud = await north()
    web, db = await cloud.vm(made.web), await cloud.vm(made.db)
    await cloud.close()
    assert (web.name, web.power, web.flavor, web.keys) == (
        "web",
        PowerState.RUNNING,
        "measured",
        ("operator",),
    )
    assert web.tags == {"production": "", "owner": "shop"}
    assert (web.nics[0].mac, web.nics[0].addresses) == (WEB_MAC, ("10.1.0.50/24",))
    assert [nic.network for nic in web.nics] == ["inner", "back/back-1"]
    assert web.nics[0].floating == (made.outside,)
    assert (web.nics[0].model, web.disks[0].bus) == (NicModel.E1000, DiskBus.VIRTIO_SCSI)
    assert web.disks[1].snapshots == ("before-upgrade",)
    assert (db.power, db.fenced, [disk.boot for disk in db.disks]) == (PowerState.STOPPED, True, [True])


async def test_the_offer_is_what_the_project_has(made: Scene):
    cloud = await north()
    found = await cloud.constructs()
    await cloud.close()
    assert found.zones == ("nova",)
    assert {"inner", "back/back-1", "back/back-2"} <= {one.name for one in found.networks}
    assert found.free.vms >= 0


async def test_an_application_credential_is_as_good_as_a_password(projects: dict[str, Project]):
    sdk = connected("north")
    made = sdk.identity.create_application_credential(sdk.current_user_id, "crossport")
    settings = {
        "auth-url": sdk.config.get_auth_args()["auth_url"],
        "application-credential-id": made.id,
        "application-credential-secret": made.secret,
        "region": "RegionNorth",
        "unencrypted": "accepted",
    }
    cloud = await connect(CloudEntry(name="north", driver="openstack", settings=settings), KeptSecrets())
    assert "project admin" in await cloud.check()
    sdk.identity.delete_application_credential(sdk.current_user_id, made)
    await cloud.close()
    late = await connect(CloudEntry(name="north", driver="openstack", settings=settings), KeptSecrets())
    with pytest.raises(errors.Refused, match="application-credential-secret"):
        await late.check()
    await late.close()


async def test_two_clouds_are_two_installations():
    found: set[str] = set()
    for name in ("north", "south"):
        cloud = await connect(entry_of(name), KeptSecrets())
        found.add(await cloud.installation())
        await cloud.close()
    assert len(found) == 2
