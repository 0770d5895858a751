"""A small real guest: Linux, a web server and a console shell on one disk that boots under BIOS and UEFI.

Demonstrations, tests and benches boot it. It is built from Debian packages by an ordinary user, without loop
devices or mounts, and twice the same from the same packages. What it does once it runs is told in
``files/README.md``; ``client`` talks to it.
"""

from crossport.testing.guest.image import GuestImage, Recipe, build_guest

__all__ = ["build_guest", "GuestImage", "Recipe"]
