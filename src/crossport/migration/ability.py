"""Ask a cloud for something that not every driver can do."""

from typing import TypeVar

from crossport import errors
from crossport.spi.cloud import Cloud

__all__ = ["able"]

T = TypeVar("T")


def able(cloud: Cloud, ability: type[T]) -> T:
    """Return ``cloud`` as ``ability``; raise Blocked when its driver lacks it."""
    if not isinstance(cloud, ability):
        raise errors.Blocked(
            "cloud.ability.none",
            f"The driver of {cloud.name} lacks {ability.__name__}.",
            remedy="Choose a cloud whose driver can do this: crossport cloud show NAME",
        )
    return cloud
