"""Looking into a guest whose disks lie still: its system and its packages.

A guest's file systems are hostile, and no kernel but a disposable one reads them: a small VM, *the
appliance*, made of Debian's own kernel and busybox, with the disks read-only, no network and nothing else.
What it tells is read within the same confinement, and is believed as far as it is well formed.
"""

from crossport.inspector.appliance import Appliance, build, opened
from crossport.inspector.clamd import Clamd
from crossport.inspector.look import GuestLook

__all__ = ["GuestLook", "Appliance", "Clamd", "build", "opened"]
