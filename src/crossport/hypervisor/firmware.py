"""The firmware that QEMU starts a guest with: SeaBIOS is QEMU's own, UEFI is the distribution's OVMF.

UEFI has two parts: code, shared and never written, and a store of variables (boot entries, keys) that belongs
to one VM and travels with it.
"""

from pathlib import Path

from crossport import errors

__all__ = ["UEFI_CODE", "UEFI_VARIABLES", "need_uefi"]

UEFI_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
UEFI_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def need_uefi() -> None:
    """Raise Unavailable ``hypervisor.firmware.missing`` if this machine cannot start UEFI guests."""
    for path in (UEFI_CODE, UEFI_VARIABLES):
        if not path.is_file():
            raise errors.Unavailable(
                "hypervisor.firmware.missing",
                f"UEFI firmware is not installed: there is no {path}.",
                remedy="Install the package ovmf.",
            )
