"""openstacksdk, kept off the event loop: a few threads of its own ask, and every error is translated here.

Nothing of the site's machine goes into a question: no settings from its environment or home directory, no
clouds.yaml of its own, no proxy, no .netrc.
"""

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openstack.connection
import requests
from keystoneauth1 import exceptions as identity_errors
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from crossport import errors
from crossport.clouds.openstack.settings import Access
from crossport.spi.secret import Secret
from openstack import exceptions as sdk_errors

__all__ = ["Client"]

T = TypeVar("T")

THREADS = 4
"""Questions at a time. An inventory asks about ten; more would only crowd the cloud's API."""
ANSWER_S = 60.0
"""For one question; listing the servers of a large project takes a cloud many seconds."""
NEEDED = {"compute": "compute", "network": "network", "image": "image"}
VOLUMES = ("block-storage", "volumev3", "block-store")
"""By what names a catalog tells the volume service, the official one first."""
_ADVICE = "Look at the cloud's own state, and try again."


class Client:
    """A connection to one region of a cloud, in one project. ``volumes``: whether it has volumes at all."""

    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self._access = access
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"openstack-{name}")
        self._folder = tempfile.TemporaryDirectory(prefix="crossport-openstack-") if access.ca else None
        self._session = _session(access, self._trusted())
        # Untyped: what it offers depends on the versions that the cloud has.
        self._cloud: Any = openstack.connection.Connection(
            session=self._session, region_name=access.region or None, interface=access.interface
        )
        self._volumes: bool | None = None
        self._closed = False

    @property
    def region(self) -> str:
        """The region that was named, empty for the cloud's only one."""
        return self._access.region

    def _trusted(self) -> str | bool:
        if self._folder is None:
            return True
        file = Path(self._folder.name) / "authorities.pem"  # requests takes a file only
        file.write_text(self._access.ca)
        return str(file)

    async def ask(self, question: Callable[[Any], T]) -> T:
        """Return what ``question`` makes of openstacksdk's connection, in a thread; translate its errors."""
        if self._closed:
            raise errors.Unavailable(
                "cloud.unreachable",
                f"The connection to {self.name} is closed.",
                remedy=errors.TRIED_AGAIN,
            )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, question)

    def _asked(self, question: Callable[[Any], T]) -> T:
        try:
            return question(self._cloud)
        except (
            sdk_errors.SDKException,
            identity_errors.ClientException,
            requests.exceptions.RequestException,
        ) as error:
            raise _translated(self.name, self._access, error) from error

    async def services(self) -> dict[str, str]:
        """Return the addresses of the services, by what they are for; raise Refused when one is missing."""
        found = await self.ask(lambda _: self._endpoints())
        for use in NEEDED.values():
            if use not in found:
                raise errors.Refused(
                    "cloud.service.missing",
                    f"{self.name} tells no {self._access.interface} address of a {use} service"
                    f"{f' in the region {self._access.region}' if self._access.region else ''}.",
                    field="settings.region",
                    remedy="Name the region and the interface as the cloud's catalog has them: "
                    "openstack catalog list",
                )
        for use, address in found.items():
            self._need_encrypted(use, address)
        self._volumes = "block storage" in found
        return found

    async def has_volumes(self) -> bool:
        """Say whether the cloud has a volume service."""
        if self._volumes is None:
            await self.services()
        return bool(self._volumes)

    def _endpoints(self) -> dict[str, str]:
        def address(kind: str) -> str:
            place: dict[str, Any] = {"region_name": self._access.region or None}
            try:
                found = self._session.get_endpoint(
                    service_type=kind, interface=self._access.interface, **place
                )
            except identity_errors.EndpointNotFound:
                return ""
            return str(found or "")

        found = {use: address(kind) for kind, use in NEEDED.items()}
        found["block storage"] = next((place for place in [address(kind) for kind in VOLUMES] if place), "")
        return {use: place for use, place in found.items() if place}

    def _need_encrypted(self, use: str, address: str) -> None:
        if urlsplit(address).scheme != "https" and not self._access.unencrypted:
            raise errors.Refused(
                "cloud.tls.none",
                f"The {use} service of {self.name} would be asked without encryption, at {address}.",
                field="settings.interface",
                remedy="Choose another interface; in a closed network of your own accept it with "
                "--set unencrypted=accepted.",
            )

    async def close(self) -> None:
        """Let go of connections; what is being asked is not waited for. May be called twice."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._cloud.close()
        if self._folder is not None:
            self._folder.cleanup()


def _session(access: Access, trusted: str | bool) -> Session:
    carrier = requests.Session()
    carrier.trust_env = False
    login: dict[str, Any] = {
        word: value.reveal() if isinstance(value, Secret) else value for word, value in access.login.items()
    }
    kind = v3.ApplicationCredential if access.by_application else v3.Password
    return Session(auth=kind(**login), session=carrier, verify=trusted, timeout=ANSWER_S)


def _translated(name: str, access: Access, error: Exception) -> errors.Error:
    """Return the error as ours: what may be tried again, and what needs a person."""
    host = urlsplit(access.address).hostname
    text = _first_line(error)
    status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
    if _is_distrust(error):
        return errors.Refused(
            "cloud.tls.untrusted",
            f"The certificate of {host} cannot be verified: {text}",
            field="settings.ca",
            remedy="Give the certificate of its authority with --set-file ca=FILE.",
        )
    # Keystone answers 404 to an application credential that was deleted.
    ended = isinstance(error, identity_errors.NotFound) and text.startswith("Could not find")
    if isinstance(error, identity_errors.Unauthorized) or status == 401 or ended:
        field = "application-credential-secret" if access.by_application else "password"
        return errors.Refused(
            "cloud.credential.refused",
            f"{name} does not accept this credential.",
            field=f"settings.{field}",
            remedy="Correct the login; an application credential may have ended. Then add the cloud anew.",
        )
    if status == 403:
        return errors.Refused(
            "cloud.permission.none",
            f"{name} does not let this credential do what is needed: {text}",
            remedy="Give it the role member, or reader for an inventory, in its project.",
        )
    if isinstance(error, identity_errors.DiscoveryFailure | identity_errors.NotFound) or status == 404:
        return errors.Refused(
            "cloud.answer.foreign",
            f"What answers at {host} is no identity service of OpenStack, or lacks what it tells of: {text}",
            field="settings.auth-url",
            remedy="Give the address of the identity service, such as https://HOST:5000/v3.",
        )
    return errors.Unavailable("cloud.unreachable", f"{name} does not answer: {text}", remedy=_ADVICE)


def _is_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, identity_errors.SSLError | requests.exceptions.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
