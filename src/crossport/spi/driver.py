"""How a driver is found and connected: an entry point of the group ``crossport.clouds``."""

from collections.abc import Awaitable, Callable

from crossport.model.request import CloudEntry
from crossport.spi.cloud import Cloud
from crossport.spi.secret import Secrets

__all__ = ["GROUP", "Connect"]

GROUP = "crossport.clouds"
"""Entry points of this group name a ``Connect``; the entry point's name is the driver's name."""

Connect = Callable[[CloudEntry, Secrets], Awaitable[Cloud]]
"""Connect to the cloud that the entry describes; raise Invalid with the setting at fault as the field."""
