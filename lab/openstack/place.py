"""Where the lab is: its folders, its addresses, and the passwords of each cloud."""

import json
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["CLOUDS", "WAN", "WAN_ADDRESS", "Cloud", "Lab"]

WAN = "cp-os-wan"
"""The namespace between the clouds: whoever uses them starts there."""
WAN_ADDRESS = "10.90.0.1"
CLOUDS = ("north", "south")
SCHEMAS = ("keystone", "glance", "placement", "nova_api", "nova", "nova_cell0", "neutron", "cinder")


@dataclass(frozen=True)
class Cloud:
    """One OpenStack cloud. ``number`` counts from 1; addresses and UUIDs hang on it."""

    name: str
    number: int
    lab: "Lab"

    @property
    def home(self) -> Path:
        """Configuration, data, logs and pids of this cloud."""
        return self.lab.state / self.name

    @property
    def network(self) -> str:
        """The network namespace."""
        return f"cp-os-{self.name}"

    @property
    def host(self) -> str:
        """The name of its one compute host."""
        return f"compute-{self.name}"

    @property
    def address(self) -> str:
        """Where its services answer, on the network between the clouds."""
        return f"10.90.0.{10 + self.number}"

    @property
    def floating(self) -> tuple[str, str]:
        """The first and the last floating address."""
        return f"10.90.0.{96 + 32 * self.number}", f"10.90.0.{126 + 32 * self.number}"

    @property
    def region(self) -> str:
        """The region's name. No two clouds share one."""
        return f"Region{self.name.capitalize()}"

    @property
    def auth_url(self) -> str:
        """Where Keystone answers."""
        return f"http://{self.address}:5000/v3"

    @cached_property
    def password(self) -> str:
        """One secret for all accounts of this cloud: drawn when it is made, kept in a file of root's."""
        file = self.home / "password"
        if not file.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(".new")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123
                out.write(secrets.token_hex(16))
            draft.rename(file)
        return file.read_text()

    def words(self) -> dict[str, str]:
        """Return what stands for each ``@WORD@`` of a template."""
        socket = self.lab.state / "mysql" / "sock"
        return {
            "HOME": str(self.home),
            "ADDRESS": self.address,
            "REGION": self.region,
            "HOST": self.host,
            "PASSWORD": self.password,
            "AUTH_URL": self.auth_url,
            "DATABASE": f"mysql+pymysql://cp_{self.name}:{self.password}@localhost/{self.name}",
            "SOCKET": f"unix_socket={socket}&charset=utf8",
            "BUS": f"rabbit://crossport:{self.password}@127.0.0.1:5672/",
            "VENV": str(self.lab.venv),
            "VIRT": self.lab.accelerator,
            "HOST_UUID": f"00000000-0000-4000-8000-{self.number:012d}",
        }


@dataclass(frozen=True)
class Lab:
    """The whole lab. ``state`` goes with it; ``cache`` makes the next one quick.

    ``state`` is short, since paths of sockets in it must not exceed 108 bytes, and lies where nobody but root
    can have put something before.
    """

    state: Path = Path("/var/lib/crossport-openstack")
    cache: Path = Path.home() / ".cache/crossport/openstack"

    @property
    def venv(self) -> Path:
        """Where OpenStack's own packages are."""
        return self.cache / "venv"

    @property
    def clouds(self) -> tuple[Cloud, ...]:
        """The two clouds."""
        return tuple(Cloud(name, number, self) for number, name in enumerate(CLOUDS, 1))

    @property
    def accelerator(self) -> str:
        """``kvm`` or ``qemu``, as it was found out by booting a kernel; ``qemu`` before that."""
        file = self.state / "accelerator"
        return file.read_text() if file.exists() else "qemu"

    @property
    def clouds_yaml(self) -> Path:
        """How to reach both, as openstacksdk and the openstack client read it."""
        return self.state / "clouds.yaml"

    @property
    def guest(self) -> Path:
        """The disk of the small guest that this machine's accelerator was chosen with."""
        return self.state / "guest.raw"

    def write_clouds_yaml(self) -> None:
        """Write ``clouds.yaml``, which root alone can read; JSON is YAML."""
        clouds = {
            cloud.name: {
                "region_name": cloud.region,
                "identity_api_version": 3,
                "auth": {
                    "auth_url": cloud.auth_url,
                    "username": "admin",
                    "password": cloud.password,
                    "project_name": "admin",
                    "user_domain_id": "default",
                    "project_domain_id": "default",
                },
            }
            for cloud in self.clouds
        }
        text = json.dumps({"clouds": clouds}, indent=2)
        with open(os.open(self.clouds_yaml, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123
            out.write(text + "\n")
