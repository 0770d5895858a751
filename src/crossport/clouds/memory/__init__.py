"""A simulated cloud for fast tests: it keeps every promise of a real one, but its guests are make-believe."""

from pathlib import Path

from crossport import errors
from crossport.clouds.memory.cloud import MemoryCloud
from crossport.clouds.memory.maker import MemoryMaker
from crossport.model.request import CloudEntry
from crossport.spi.secret import Secrets

__all__ = ["MemoryCloud", "MemoryMaker", "connect"]


async def connect(entry: CloudEntry, secrets: Secrets) -> MemoryCloud:
    """Connect to the simulated cloud in the directory that the setting ``path`` names."""
    del secrets  # a simulated cloud has no credential
    path = entry.settings.get("path", "")
    if not path:
        raise errors.Invalid(
            "cloud.setting.missing",
            "A simulated cloud needs a directory.",
            field="settings.path",
            remedy="Give it with --set path=DIRECTORY.",
        )
    return MemoryCloud(entry.name, Path(path))
