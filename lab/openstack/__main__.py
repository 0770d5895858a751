"""Bring the lab up, use it, end it: ``python -m lab.openstack up|inside|status|down``."""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lab.openstack.database import make_schemas, server, stop_server
from lab.openstack.hypervisor import choose_accelerator, destroy_guests
from lab.openstack.namespaces import make_cloud_spaces, make_wan, remove_cloud_spaces, remove_wan
from lab.openstack.place import WAN, Cloud, Lab
from lab.openstack.process import Broken, alive, end
from lab.openstack.removal import purge
from lab.openstack.services import start_services
from lab.openstack.software import install


def main() -> int:
    """Do what is asked for; return 0, or 2 when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m lab.openstack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring both clouds up; what runs already stays as it is")
    down = commands.add_parser("down", help="end everything that up started")
    down.add_argument("--purge", action="store_true", help="remove the clouds' data too")
    commands.add_parser("status", help="say which daemons run")
    within = commands.add_parser(
        "inside", help="run a command between the clouds, which it finds in its settings"
    )
    within.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        print("The lab needs root: it makes namespaces, mounts and networks. Use sudo.", file=sys.stderr)
        return 2
    lab = Lab()
    try:
        if chosen.command == "up":
            _up(lab)
        elif chosen.command == "down":
            _down(lab, all_of_it=chosen.purge)
        elif chosen.command == "inside":
            _inside(lab, chosen.words)
        else:
            _status(lab)
    except Broken as broken:
        print(f"lab: {broken}", file=sys.stderr)
        return 2
    return 0


def _up(lab: Lab) -> None:
    began = time.monotonic()
    lab.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    lab.cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        probe = pool.submit(choose_accelerator, lab)
        _stage("OpenStack's packages", began)
        install(lab)
        server(lab)
        _stage("tables of its services", began)
        make_schemas(lab)
        make_wan(lab)
        probe.result()
        for cloud in lab.clouds:
            make_cloud_spaces(cloud)
        lab.write_clouds_yaml()
        _stage(f"two clouds, guests with {lab.accelerator}", began)
        for up in [pool.submit(start_services, cloud) for cloud in lab.clouds]:
            up.result()
    _stage("both are up", began)
    print("A command between them: .venv/bin/python -m lab.openstack inside COMMAND")


def _inside(lab: Lab, words: list[str]) -> None:
    if not words:
        raise Broken("inside needs a command, such as: inside .venv/bin/python my_script.py")
    if not lab.clouds_yaml.exists():
        raise Broken("the clouds are not up. Bring them up with: make lab-openstack")
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(lab.clouds_yaml)
    os.execvp("ip", ["ip", "netns", "exec", WAN, *words])  # noqa: S606 - an argument list


def _down(lab: Lab, *, all_of_it: bool) -> None:
    if not lab.state.exists():
        return
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_end_cloud, lab.clouds))
    stop_server(lab)
    remove_wan(lab)
    if all_of_it:
        purge(lab)


def _end_cloud(cloud: Cloud) -> None:
    if alive(cloud.home / "pid" / "libvirtd"):
        destroy_guests(cloud)
    end((cloud.home / "pid").glob("*"))
    remove_cloud_spaces(cloud)


def _status(lab: Lab) -> None:
    for cloud in lab.clouds:
        for pid in sorted((cloud.home / "pid").glob("*")):
            print(f"{cloud.name:6} {pid.name:16} {'runs' if alive(pid) else 'ended'}")


def _stage(text: str, began: float) -> None:
    print(f"lab: {time.monotonic() - began:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
