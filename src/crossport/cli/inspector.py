"""`crossport inspector`: the appliance in which a site looks into guests that come in."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport.cli.session import Here
from crossport.cli.text import fields
from crossport.inspector import build as built
from crossport.units import size_text

__all__ = ["app"]

FOLDER = "inspector"
"""Where the appliance lies in the state directory."""

app = App(name="inspector", help="Make the appliance in which a site looks into guests that come in.")


@app.command
def build(
    *,
    cache: Annotated[Path | None, Parameter(help="Where Debian's kernel is kept.")] = None,
    session: Here,
) -> None:
    """Make the inspection appliance of the site on this machine: a small VM of Debian's kernel and busybox.

    The site uses it from then on, where the import policy has own_checks.
    Made again, it takes the place of the former one: do so when Debian has a newer kernel.

    For example:

      crossport inspector build
    """
    folder = session.place.home / FOLDER
    environment = session.machine.environment
    home = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '/')}/.cache"
    made = built(folder, cache=cache or Path(home, "crossport", "guest"), say=session.out.say)
    sizes = {"kernel": made.kernel.stat().st_size, "ram_disk": made.ram_disk.stat().st_size}
    told = [(name.replace("_", " "), size_text(size)) for name, size in sizes.items()]
    session.out.result({"folder": str(folder), **sizes}, fields(str(folder), *told))
