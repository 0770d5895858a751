"""Remove the data of the lab; what makes the next one quick is kept."""

import shutil

from lab.openstack.place import Lab
from lab.openstack.process import Broken

__all__ = ["purge"]


def purge(lab: Lab) -> None:
    """Remove everything but the cache; raise Broken while something of the lab is still mounted."""
    with open("/proc/self/mountinfo") as mounts:  # noqa: PTH123
        held = [line.split()[4] for line in mounts if line.split()[4].startswith(f"{lab.state}/")]
    if held:
        raise Broken(f"still mounted: {', '.join(held)}. Unmount it, then try again.")
    shutil.rmtree(lab.state, ignore_errors=False)
