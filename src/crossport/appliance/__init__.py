"""What small systems that Crossport starts itself are made of: Debian's kernel, its programs, a RAM disk.

The inspection appliance of operators is built with it, and so is the small guest of demonstrations and tests:
from Debian packages, by an ordinary user, without loop devices or mounts.
"""

from crossport.appliance.programs import BUILDERS, PACKAGES

__all__ = ["BUILDERS", "PACKAGES"]
