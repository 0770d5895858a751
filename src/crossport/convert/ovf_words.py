"""The words of the Open Virtualization Format (DMTF DSP0243 1.1 and 2.1) that both its reader and its
writer need.

Resource types are those of CIM_ResourceAllocationSettingData; subtypes are what VMware, VirtualBox and QEMU
tools write, since the standard leaves them open.
"""

from crossport.model.vm import DiskBus, NicModel

__all__ = [
    "CONTROLLERS",
    "DISK_SUBTYPES",
    "ENVELOPES",
    "FORMATS",
    "NIC_SUBTYPES",
    "RASD",
    "STREAM_OPTIMIZED",
    "VMW",
    "VSSD",
    "XSI",
    "Resource",
]

ENVELOPES = {1: "http://schemas.dmtf.org/ovf/envelope/1", 2: "http://schemas.dmtf.org/ovf/envelope/2"}
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
RASD = _CIM + "CIM_ResourceAllocationSettingData"
VSSD = _CIM + "CIM_VirtualSystemSettingData"
VMW = "http://www.vmware.com/schema/ovf"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
STREAM_OPTIMIZED = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


class Resource:
    """Values of rasd:ResourceType."""

    CPU = 3
    MEMORY = 4
    IDE = 5
    SCSI = 6
    NIC = 10
    DISK = 17
    SATA = 20


CONTROLLERS = {Resource.IDE: DiskBus.IDE, Resource.SATA: DiskBus.SATA, Resource.SCSI: DiskBus.VIRTIO_SCSI}

# Several subtypes stand in order of preference (DSP0243, ResourceSubType): a reader takes the first that it
# knows.
DISK_SUBTYPES = {
    DiskBus.IDE: (Resource.IDE, "PIIX4"),
    DiskBus.SATA: (Resource.SATA, "AHCI vmware.sata.ahci"),
    DiskBus.VIRTIO_SCSI: (Resource.SCSI, "virtio-scsi VirtualSCSI"),
    DiskBus.VIRTIO: (Resource.SCSI, "virtio-blk VirtualSCSI"),
}
NIC_SUBTYPES = {
    NicModel.VIRTIO: "virtio",
    NicModel.E1000: "E1000",
    NicModel.E1000E: "E1000e",
    NicModel.VMXNET3: "VmxNet3",
    NicModel.RTL8139: "RTL8139",
}

# What the format URI of a disk says, by a part of it in lower case; the first that fits counts.
FORMATS = {
    "vmdk": "vmdk",
    "qcow2": "qcow2",
    "vhdx": "vhdx",
    "vhd": "vhd",
    "vdi": "vdi",
    "raw": "raw",
}
