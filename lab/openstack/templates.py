"""The services' settings: what is in ``settings/``, with each ``@WORD@`` replaced."""

import re
from collections.abc import Mapping
from pathlib import Path

from lab.openstack.place import Cloud

__all__ = ["render"]

SETTINGS = Path(__file__).parent / "settings"


def render(cloud: Cloud, words: Mapping[str, str] | None = None) -> None:
    """Write all settings of ``cloud`` into ``etc/``, for root alone; raise KeyError for an unknown word."""
    known = cloud.words() if words is None else words
    etc = cloud.home / "etc"
    etc.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source in sorted(SETTINGS.iterdir()):
        text = re.sub(r"@([A-Z_]+)@", lambda found: known[found[1]], source.read_text())
        target = etc / source.name
        target.write_text(text)
        target.chmod(0o700 if source.suffix == ".sh" else 0o600)
