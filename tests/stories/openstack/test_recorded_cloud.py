"""The driver for OpenStack, with the real openstacksdk, against what a real cloud of the lab has answered.

The answers are replayed by a web server of this test; what fails is told with field, reason and remedy, and
nothing that a migration would miss is found out later than at its assessment.
"""

import asyncio
import dataclasses
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.stories.openstack.replay import NAMED, Replay, replayed
from tests.unit.migration.test_control import TENANT, KeptSecrets, Place, open_place, wish

from crossport import errors
from crossport.clouds.openstack import OpenStackCloud, connect
from crossport.model.request import CloudEntry
from crossport.model.vm import DiskBus, NicModel, PowerState

pytestmark = [
    # openstacksdk warns of how it calls itself.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

GIB = 1 << 30


@pytest.fixture
def replay() -> Generator[Replay]:
    with replayed() as replay:
        yield replay


@asynccontextmanager
async def cloud_of(replay: Replay, **changes: str) -> AsyncGenerator[OpenStackCloud]:
    settings = {**replay.login, "unencrypted": "accepted", **changes}
    entry = CloudEntry(name="north", driver="openstack", settings={k: v for k, v in settings.items() if v})
    cloud = await connect(entry, KeptSecrets())
    try:
        yield cloud
    finally:
        await cloud.close()


@pytest.fixture
async def cloud(replay: Replay) -> AsyncGenerator[OpenStackCloud]:
    async with cloud_of(replay) as cloud:
        yield cloud


async def fault_of(cloud: OpenStackCloud) -> errors.Error:
    with pytest.raises(errors.Error) as found:
        await cloud.check()
    assert found.value.remedy
    return found.value


async def test_the_cloud_says_who_is_connected_to_what(cloud: OpenStackCloud):
    told = await cloud.check()
    assert told.startswith("OpenStack at 127.0.0.1, project admin, as admin: ")
    assert "block storage, compute, image, network" in told


async def test_both_names_of_a_project_are_one_installation(replay: Replay, cloud: OpenStackCloud):
    async with cloud_of(replay, region="RegionNorth") as other:
        assert await cloud.installation() == await other.installation()


async def test_a_server_from_an_image_is_told_whole(cloud: OpenStackCloud):
    vm = await cloud.vm("web")
    assert (vm.flavor, vm.cpus, vm.memory) == ("measured", 1, 128 << 20)
    assert (vm.power, vm.fenced, vm.busy, vm.halted, vm.special) == (PowerState.RUNNING, False, "", "", ())
    assert (vm.project, vm.zone, vm.keys) == ("admin", "nova", ("operator",))
    assert vm.tags == {"production": "", "owner": "shop"}
    assert [(d.size, d.bus, d.boot, d.snapshots) for d in vm.disks] == [
        (GIB, DiskBus.VIRTIO_SCSI, True, ()),
        (GIB, DiskBus.VIRTIO_SCSI, False, ("before-upgrade",)),
    ]
    front, back = vm.nics
    assert (front.mac, front.addresses, front.network) == ("fa:16:3e:00:00:50", ("10.1.0.50/24",), "inner")
    assert (front.model, front.security_groups) == (NicModel.E1000, ("web",))
    assert front.floating[0].startswith("10.90.0.")
    assert (back.addresses, back.network, back.floating) == (("10.9.1.77/24",), "back/back-1", ())


async def test_a_server_from_a_volume_that_is_locked_for_us_is_off_and_fenced(cloud: OpenStackCloud):
    vm = await cloud.vm("db")
    assert (vm.power, vm.fenced, len(vm.nics)) == (PowerState.STOPPED, True, 1)
    (disk,) = vm.disks
    assert (disk.name, disk.size, disk.boot, disk.bus) == ("db-boot", GIB, True, DiskBus.VIRTIO_SCSI)


async def test_servers_are_sorted_and_found_by_id_too(cloud: OpenStackCloud):
    db, web = await cloud.vms()
    assert (db.name, web.name) == ("db", "web")
    assert (await cloud.vm(web.id)) == web


async def test_an_unknown_server_and_project_are_not_found(cloud: OpenStackCloud):
    with pytest.raises(errors.NotFound, match=r"vm\.unknown"):
        await cloud.vm("nobody")
    with pytest.raises(errors.NotFound, match=r"project\.unknown"):
        await cloud.vms("umbrella")


async def test_what_a_vm_can_be_mapped_to_is_told(cloud: OpenStackCloud):
    found = await cloud.constructs()
    assert {"measured", "small"} == {one.name for one in found.flavors}
    assert [one.name for one in found.networks] == ["back/back-1", "back/back-2", "inner"]
    assert {one.name for one in found.security_groups} == {"default", "web"}
    (rule,) = [
        rule
        for group in found.security_groups
        if group.name == "web"
        for rule in group.rules
        if rule.protocol == "tcp"
    ]
    assert (rule.first_port, rule.last_port, rule.cidr) == (80, 80, "0.0.0.0/0")
    assert [key.name for key in found.keys] == ["operator"]
    assert found.keys[0].fingerprint == "SHA256:tRQ5WFiZ3we6Wyz78YY04GdV3AJsixa/PbSTSa1NMTM"
    assert (found.zones, found.free.vms, found.free.cpus) == (("nova",), 8, 18)
    assert found.free.disk == 997 * GIB


async def test_the_console_is_read(cloud: OpenStackCloud):
    assert "CROSSPORT-GUEST-UP" in await cloud.console_log((await cloud.vm("web")).id)


async def test_the_event_loop_goes_on_while_the_cloud_is_asked(cloud: OpenStackCloud):
    turns, asking = 0, asyncio.ensure_future(cloud.constructs())
    longest = 0.0
    while not asking.done():
        began = time.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - began)
        turns += 1
    assert turns > 50
    await asking


async def test_the_settings_of_the_sites_machine_take_no_part(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login root password of-the-site\n")
    words = {"NETRC": str(tmp_path / "netrc"), "OS_CLOUD": "nothing", "OS_AUTH_URL": "http://127.0.0.1:9"}
    for name, value in {**words, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}.items():
        monkeypatch.setenv(name, value)
    async with cloud_of(replay) as cloud:
        assert await cloud.check()
    assert not [word for word in replay.headers if word.lower() == "authorization"]


async def test_an_image_that_is_gone_takes_no_server_along(replay: Replay, cloud: OpenStackCloud):
    replay.instead["/v2/images/"] = (404, {})
    assert (await cloud.vm("web")).disks[0].bus is DiskBus.VIRTIO


@pytest.mark.parametrize(
    ("part", "status", "kind", "code", "field"),
    [
        ("POST 5000/v3/auth/tokens", 401, errors.Refused, "cloud.credential.refused", "settings.password"),
        ("POST 5000/v3/auth/tokens", 404, errors.Refused, "cloud.answer.foreign", "settings.auth-url"),
        ("os-availability-zone", 403, errors.Refused, "cloud.permission.none", ""),
        ("os-availability-zone", 503, errors.Unavailable, "cloud.unreachable", ""),
        ("os-availability-zone", 429, errors.Unavailable, "cloud.unreachable", ""),
    ],
)
async def test_a_refusal_says_what_is_wrong(
    replay: Replay, part: str, status: int, kind: type[errors.Error], code: str, field: str
):
    replay.instead[part] = (status, {"error": {"message": "no", "code": status}})
    async with cloud_of(replay) as cloud:
        found = await fault_of(cloud)
    assert (type(found), found.code, found.field) == (kind, code, field)


async def test_a_credential_that_was_deleted_is_told_as_refused(replay: Replay):
    replay.instead["POST 5000/v3/auth/tokens"] = (
        404,
        {"error": {"message": "Could not find Application Credential: ab.", "code": 404}},
    )
    async with cloud_of(replay) as cloud:
        found = await fault_of(cloud)
    assert (type(found), found.code) == (errors.Refused, "cloud.credential.refused")


async def test_a_cloud_that_is_gone_may_be_tried_again(replay: Replay):
    async with cloud_of(replay, **{"auth-url": "http://127.0.0.1:9/v3"}) as cloud:
        found = await fault_of(cloud)
    assert (type(found), found.code) == (errors.Unavailable, "cloud.unreachable")


async def test_a_region_that_the_catalog_has_not_is_told(replay: Replay):
    async with cloud_of(replay, region="RegionMoon") as cloud:
        found = await fault_of(cloud)
    assert (found.code, found.field) == ("cloud.service.missing", "settings.region")
    assert "RegionMoon" in found.text


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_one_of_a_given_authority_is_taken(
    tmp_path: Path,
):
    context, pem = _certified(tmp_path)
    with replayed(context) as replay:
        async with cloud_of(replay, unencrypted="") as cloud:
            found = await fault_of(cloud)
        assert (found.code, found.field) == ("cloud.tls.untrusted", "settings.ca")
        assert replay.bodies == []  # the credential was not sent
        async with cloud_of(replay, unencrypted="", ca=pem) as cloud:
            assert await cloud.check()


async def test_a_service_without_encryption_behind_an_encrypted_login_is_refused(tmp_path: Path):
    context, pem = _certified(tmp_path)
    with replayed(context) as replay:
        tokens = replay.body("POST 5000/v3/auth/tokens")
        for service in tokens["token"]["catalog"]:
            for endpoint in service["endpoints"]:
                endpoint["url"] = endpoint["url"].replace(NAMED, "http://10.0.0.1:")
        replay.instead["POST 5000/v3/auth/tokens"] = (201, tokens)
        async with cloud_of(replay, unencrypted="", ca=pem) as cloud:
            found = await fault_of(cloud)
    assert (found.code, found.field) == ("cloud.tls.none", "settings.interface")


@pytest.fixture
async def site(tmp_path: Path, replay: Replay) -> AsyncGenerator[Place]:
    async with open_place(tmp_path) as place:
        drivers: dict[str, Any] = vars(place.registry)["_drivers"]
        drivers["openstack"] = connect
        settings = {**replay.login, "unencrypted": "accepted"}
        entry = CloudEntry(name="north", driver="openstack", settings=settings)
        status = await place.control.add_cloud(TENANT, entry)
        assert status.good
        assert status.abilities == ("Inventory", "Console")
        yield place


async def test_the_site_keeps_no_secret_in_clear_and_no_second_name(site: Place, replay: Replay):
    (kept,) = [one for one in await site.control.clouds(TENANT) if one.name == "north"]
    assert kept.settings["password"] == f"secret:cloud/{TENANT}/north/password"
    words = {
        "auth_url": replay.identity,
        "username": "admin",
        "password": "correct horse",
        "project_name": "admin",
    }
    file = yaml.safe_dump({"clouds": {"north": {"auth": words, "region_name": "RegionNorth"}}})
    settings = {"cloud": "north", "clouds-yaml": file, "unencrypted": "accepted"}
    again = CloudEntry(name="again", driver="openstack", settings=settings)
    with pytest.raises(errors.Conflict, match=r"cloud\.installation\.known"):
        await site.control.add_cloud(TENANT, again)


async def test_a_clouds_yaml_is_kept_sealed(site: Place, replay: Replay):
    kept: KeptSecrets = vars(site.registry)["_secrets"]
    await site.control.remove_cloud(TENANT, "north")
    assert kept.kept == {}
    login = {"auth_url": replay.identity, "username": "ann", "password": "hush", "project_name": "admin"}
    file = yaml.safe_dump({"clouds": {"n": {"auth": login}}})
    settings = {"cloud": "n", "clouds-yaml": file, "region": "RegionNorth", "unencrypted": "accepted"}
    await site.control.add_cloud(TENANT, CloudEntry(name="north", driver="openstack", settings=settings))
    (entry,) = [one for one in await site.control.clouds(TENANT) if one.name == "north"]
    assert "hush" not in repr(entry)
    assert any("hush" in secret.reveal() for secret in kept.kept.values())


async def test_a_migration_is_refused_beforehand_for_what_the_driver_cannot_do(site: Place):
    found = await site.control.dry_run(TENANT, dataclasses.replace(wish("web"), source="north"))
    lacks = [one.text for one in found.findings if one.code == "source.ability.none"]
    assert [text.rpartition(" ")[2] for text in lacks] == ["Exporter.", "Fencer.", "Power.", "GatewayHost."]
    with pytest.raises(errors.Blocked):
        await site.control.migrate(TENANT, dataclasses.replace(wish("web"), source="north"), "")


async def test_a_migration_into_it_is_refused_beforehand(site: Place):
    await site.vm("shop")
    found = await site.control.dry_run(TENANT, dataclasses.replace(wish("shop"), target="north"))
    lacks = [one.text for one in found.findings if one.code == "target.ability.none"]
    assert [text.rpartition(" ")[2] for text in lacks] == ["Importer.", "GatewayHost."]


async def test_every_vm_of_it_is_assessed(site: Place):
    found = await site.control.assess(TENANT, "north", "beta")
    assert len(found.vms) == 2


def _certified(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server's side with a certificate of its own for this machine, and that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloud.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, pem.decode()
