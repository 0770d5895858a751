"""The small guest with Debian's own guest agent, and a hook of it that does what the guest is told to."""

import re
import subprocess
from pathlib import Path

from crossport.appliance.programs import located, run
from crossport.testing.guest import Recipe, build_guest
from crossport.testing.guest.boot import ROOT_START
from crossport.units import MIB

__all__ = ["debian_agent_image"]

AGENT = "/usr/sbin/qemu-ga"
HOOK = "/etc/qemu/fsfreeze-hook"
START = f"""#!/bin/sh
export PATH=/bin:/sbin
for port in /sys/class/virtio-ports/*; do
  [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] && node=/dev/${{port##*/}}
done
[ -n "$node" ] && exec {AGENT} --method virtio-serial --path "$node" --statedir /run --fsfreeze-hook={HOOK}
"""
HOOK_TEXT = """#!/bin/sh
[ "$1" = freeze ] || exit 0
case "$(cat /data/store/hook 2>/dev/null)" in
  fail) exit 1 ;;
  hang) sleep 13 ;;
esac
"""


def debian_agent_image(folder: Path) -> Path:
    """Return the guest's disk, on which Debian's agent takes the place of the small one."""
    image = build_guest(
        folder / "guest.raw", Recipe(size=72 * MIB), cache=Path.home() / ".cache/crossport/guest"
    ).path
    texts = {"/etc/crossport/agent": START, HOOK: HOOK_TEXT}
    files = {place: _file(folder / Path(place).name, text) for place, text in texts.items()}
    program = located("qemu-ga")
    files |= {AGENT: program} | {str(path): path for path in _libraries(program)}
    folders = {str(parent) for place in files for parent in Path(place).parents if parent != Path("/")}
    commands = [f"mkdir {one}" for one in sorted(folders)] + ["rm /etc/crossport/agent"]
    for place, source in files.items():
        commands += [f"write {source.resolve()} {place}", f"sif {place} mode 0100755"]
    disk = f"{image}?offset={ROOT_START}"
    run("debugfs", "-w", "-f", "-", disk, text="\n".join(commands) + "\n")
    run("e2fsck", "-f", "-n", disk)
    return image


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _libraries(program: Path) -> list[Path]:
    """Return what the program is linked with, as the loader finds it here."""
    told = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", told)]
