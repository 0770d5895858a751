"""Descriptors: what is written is read back; what other programs write is understood; nonsense is a
finding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from crossport import errors
from crossport.convert.appliance import Appliance, ApplianceDisk, ApplianceNic, appliance_of
from crossport.convert.ovf_read import plain_name, read_descriptor
from crossport.convert.ovf_write import descriptor
from crossport.model.vm import VM, Disk, DiskBus, Firmware, Nic, NicModel
from crossport.testing import images
from crossport.units import MIB

NAMES = some.text(
    some.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cs",)), min_size=1
)
WORDS = NAMES.map(str.strip).filter(bool)

VMWARE = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
<References><File ovf:href="a.vmdk" ovf:id="f1"/>
 <File ovf:href="b.vmdk" ovf:id="f2" ovf:size="7"/></References>
<DiskSection><Info/>
 <Disk ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="d1" ovf:fileRef="f1"/>
 <Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="d2" ovf:fileRef="f2"/>
</DiskSection>
<NetworkSection><Info/><Network ovf:name="VM Network"/></NetworkSection>
<DeploymentOptionSection><Info/><Configuration ovf:id="small"/>
 <Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>
<VirtualSystem ovf:id="appliance"><Info/><OperatingSystemSection ovf:id="94"><Info/></OperatingSystemSection>
<VirtualHardwareSection><Info/>
 <Item ovf:configuration="small"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
  <rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
 <Item ovf:configuration="large"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
  <rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
 <Item ovf:bound="max"><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
  <rasd:VirtualQuantity>9</rasd:VirtualQuantity></Item>
 <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
  <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
 <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
  <rasd:ResourceType>6</rasd:ResourceType></Item>
 <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d2</rasd:HostResource>
  <rasd:InstanceID>7</rasd:InstanceID><rasd:Parent>3</rasd:Parent>
  <rasd:ResourceType>17</rasd:ResourceType></Item>
 <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>/disk/d1</rasd:HostResource>
  <rasd:InstanceID>8</rasd:InstanceID><rasd:Parent>3</rasd:Parent>
  <rasd:ResourceType>17</rasd:ResourceType></Item>
 <Item><rasd:Address>00-50-56-AA-BB-CC</rasd:Address><rasd:Connection>VM Network</rasd:Connection>
  <rasd:InstanceID>9</rasd:InstanceID><rasd:ResourceSubType>VmxNet3 E1000</rasd:ResourceSubType>
  <rasd:ResourceType>10</rasd:ResourceType></Item>
 <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
</VirtualHardwareSection></VirtualSystem></Envelope>"""


@settings(max_examples=60, deadline=None)
@given(
    texts=some.tuples(WORDS, WORDS),
    amounts=some.tuples(some.integers(1, 512), some.integers(1, 1 << 20)),
    buses=some.lists(some.sampled_from(DiskBus), max_size=5),
    nics=some.lists(some.tuples(WORDS, some.sampled_from(NicModel)), max_size=4),
    version=some.sampled_from([1, 2]),
)
def test_what_is_written_is_read_back(
    texts: tuple[str, str],
    amounts: tuple[int, int],
    buses: list[DiskBus],
    nics: list[tuple[str, NicModel]],
    version: int,
) -> None:
    (name, note), (cpus, memory) = texts, amounts
    disks = [ApplianceDisk(f"d{n}", n + 1, f"d{n}.vmdk", n, "uri", bus) for n, bus in enumerate(buses)]
    cards = [ApplianceNic(network, "52:54:00:00:00:01", model) for network, model in nics]
    wanted = Appliance(
        name, cpus, memory * MIB, Firmware.UEFI, tuple(disks), tuple(cards), note, {"key": name}
    )
    found = read_descriptor(descriptor(wanted, version=version))
    assert found.findings == []
    assert found.version == version
    assert found.appliance == wanted


def test_a_descriptor_as_vmware_writes_it_is_understood() -> None:
    found = read_descriptor(VMWARE.encode())
    machine = found.appliance
    assert (machine.name, machine.cpus, machine.memory) == ("appliance", 4, 2048 * MIB)
    assert machine.firmware is Firmware.UEFI
    assert [(disk.file, disk.size, disk.file_size) for disk in machine.disks] == [
        ("a.vmdk", 8 << 30, None),
        ("b.vmdk", 16 << 20, 7),
    ]
    assert machine.nics == (ApplianceNic("VM Network", "00:50:56:aa:bb:cc", NicModel.VMXNET3),)
    assert {each.code for each in found.findings} == {"ovf.hardware.unmapped"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('ovf:capacity="8"', 'ovf:capacity="-8"'),
        ('ovf:capacity="8"', 'ovf:capacity="${size}"'),
        ('"byte * 2^30"', '"byte * 2^99"'),
        ('"byte * 2^30"', '"parsec"'),
        ('ovf:size="7"', 'ovf:size="7e9"'),
        ('ovf:fileRef="f1"', 'ovf:fileRef="f9"'),
        ("ovf:/disk/d2", "ovf:/disk/d9"),
        ("ovf:/disk/d2", "file:///etc/passwd"),
        ("00-50-56-AA-BB-CC", "00-50-56; rm"),
        (">2048<", ">many<"),
        ("http://schemas.dmtf.org/ovf/envelope/1", "http://example.com/other"),
        ("<VirtualHardwareSection>", "<OtherSection ovf:required='false'>"),
    ],
)
def test_senseless_values_are_findings(old: str, new: str) -> None:
    text = VMWARE.replace(old, new)
    if "OtherSection" in new:
        text = text.replace("</VirtualHardwareSection>", "</OtherSection>")
    codes = {each.code for each in read_descriptor(text.encode()).findings}
    assert "ovf.content.invalid" in codes


@settings(max_examples=150, deadline=None)
@given(at=some.integers(0, len(VMWARE) - 1), byte=some.integers(0, 255))
def test_one_wrong_byte_anywhere_never_raises(at: int, byte: int) -> None:
    content = bytearray(VMWARE.encode())
    content[at] = byte
    read_descriptor(bytes(content))


def test_what_the_storage_and_network_items_of_version_2_say_is_read() -> None:
    text = VMWARE.replace("envelope/1", "envelope/2")
    item, rest = "<Item><rasd:AddressOnParent>1", text.partition("<Item><rasd:AddressOnParent>1")[2]
    changed = item.replace("Item", "StorageItem") + rest.replace("</Item>", "</StorageItem>", 1)
    text = text.replace(item + rest, changed)
    found = read_descriptor(text.encode())
    assert found.version == 2
    assert len(found.appliance.disks) == 2


@pytest.mark.parametrize(
    "name", ["a/b", "../a", "/a", "a\0b", "", ".hidden", "C:x", "-o", "a\nb", "x" * 300, "a\\b"]
)
def test_only_plain_names_are_files_of_a_package(name: str) -> None:
    assert not plain_name(name)


@pytest.mark.parametrize("name", ["disk.vmdk", "web-disk1.vmdk", "größe.mf", "a b.ovf"])
def test_plain_names_may_be_in_any_language(name: str) -> None:
    assert plain_name(name)


def test_an_unknown_version_and_control_characters_are_refused_when_writing() -> None:
    with pytest.raises(errors.Invalid, match=r"ovf\.version\.unknown"):
        descriptor(Appliance("web"), version=3)
    with pytest.raises(errors.Invalid, match=r"ovf\.text\.unprintable"):
        descriptor(Appliance("web\1"))


def test_the_volume_with_the_first_boot_configuration_stays_behind() -> None:
    vm = VM(
        id="1", name="web", project="p", zone="z", flavor="small", cpus=1, memory=MIB,
        disks=(Disk(id="v1", name="root", size=8, boot=True), Disk(id="v2", name="s", size=1, seed=True)),
        nics=(Nic(mac="52:54:00:00:00:01", network="front"),),
    )  # fmt: skip
    found = appliance_of(vm)
    assert [disk.size for disk in found.disks] == [8]
    assert found.nics[0].network == "front"


@pytest.mark.parametrize("text", [images.ovf(), VMWARE.encode()])
def test_a_descriptor_may_carry_a_byte_order_mark(text: bytes) -> None:
    assert read_descriptor(b"\xef\xbb\xbf" + text).appliance.name
