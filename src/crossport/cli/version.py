"""`crossport version`."""

from crossport import __version__
from crossport.cli.session import Here
from crossport.cli.text import fields

__all__ = ["version"]


def version(*, session: Here) -> None:
    """Print the version.

    For example:

      crossport version
    """
    session.out.result({"version": __version__}, fields("", ("crossport", __version__)))
