"""OpenStack, by openstacksdk: its projects' servers and what they can be mapped to.

It needs the extra ``openstack`` of the package, which only this package loads.
"""

from crossport.clouds.openstack.client import Client
from crossport.clouds.openstack.driver import OpenStackCloud
from crossport.clouds.openstack.settings import checked
from crossport.model.request import CloudEntry
from crossport.spi.secret import Secret, Secrets

__all__ = ["connect", "OpenStackCloud"]

_SECRET = "secret:"  # noqa: S105 - the mark of a reference
_SEALED = ("password", "application-credential-secret", "clouds-yaml")


async def connect(entry: CloudEntry, secrets: Secrets) -> OpenStackCloud:
    """Connect to the project of a cloud that the entry's settings describe.

    Nothing is asked before the first call. Raise Invalid or Refused for settings that cannot be.
    """
    settings = dict(entry.settings)
    opened: dict[str, Secret] = {}
    for name in _SEALED:
        value = settings.pop(name, "")
        if value.startswith(_SECRET):
            opened[name] = await secrets.fetch(value.removeprefix(_SECRET))
        elif value:
            opened[name] = Secret(value)
    return OpenStackCloud(entry.name, Client(entry.name, checked(settings, opened)))
