"""OpenStack's services of one cloud, in the order in which they need one another."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lab.openstack.database import load_schemas, sql
from lab.openstack.hypervisor import start_hypervisor
from lab.openstack.place import Cloud
from lab.openstack.process import alive, environment, inside, run, start_inside, succeeds, wait_for
from lab.openstack.switch import start_switch
from lab.openstack.templates import render

__all__ = ["PORTS", "start_services"]

HERE = Path(__file__).parent
PORTS = {
    "keystone": 5000,
    "placement": 8778,
    "glance": 9292,
    "neutron": 9696,
    "nova-api": 8774,
    "cinder-api": 8776,
}
READY_S = 300
"""How long a service may take to answer: more than enough on two busy cores."""


def start_services(cloud: Cloud) -> None:
    """Bring ``cloud`` up; what runs already stays as it is."""
    render(cloud)
    for pid in (cloud.home / "pid").glob("*"):
        if not alive(pid):
            pid.unlink()
    for folder in ("keystone", "glance/images", "glance/staging", "glance/tasks", "log", "pid", "mnt"):
        (cloud.home / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("nova/instances", "nova/lock", "neutron/lock", "cinder/lock"):
        (cloud.home / folder).mkdir(parents=True, exist_ok=True)
    (cloud.home / "cinder" / "shares").write_text("127.0.0.1:/share\n")
    _start_bus(cloud)
    start_switch(cloud)
    start_hypervisor(cloud)
    load_schemas(cloud)
    _start_keystone(cloud)
    _start_others(cloud)
    for name, port in PORTS.items():
        wait_for(f"{name} of {cloud.name}", READY_S, lambda port=port: _answers(cloud, port), cloud)
    wait_for(f"the compute host of {cloud.name}", READY_S, lambda: _compute_known(cloud), cloud)
    _nova_manage(cloud, "cell_v2", "discover_hosts")


def _start_bus(cloud: Cloud) -> None:
    home = cloud.home / "rabbit"
    home.mkdir(exist_ok=True)
    (home / "plugins").write_text("")
    settings = {
        "HOME": home,
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": cloud.home / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": cloud.home / "etc" / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "plugins",
        "RABBITMQ_PID_FILE": home / "pid",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_DIST_PORT": 25672,
        # One scheduler that sleeps when it has nothing to do.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
    }
    more = {name: str(value) for name, value in settings.items()}
    start_inside(cloud, "rabbitmq", ("/usr/lib/rabbitmq/bin/rabbitmq-server",), more)


def _start_keystone(cloud: Cloud) -> None:
    etc, done = cloud.home / "etc", cloud.home / "keystone" / "bootstrapped"
    manage = (_tool(cloud, "keystone-manage"), f"--config-file={etc / 'keystone.conf'}")
    if not done.exists():
        for kind in ("fernet_setup", "credential_setup"):
            run(*inside(cloud), *manage, kind, "--keystone-user", "root", "--keystone-group", "root")
        urls = [f"--bootstrap-{kind}-url={cloud.auth_url}" for kind in ("public", "internal", "admin")]
        # Everybody may read the arguments of a process, and root alone its environment.
        secret = {"OS_BOOTSTRAP_PASSWORD": cloud.password}
        bootstrap = (*manage, "bootstrap", f"--bootstrap-region-id={cloud.region}", *urls)
        run(*inside(cloud), *bootstrap, more=secret)
        done.touch()
    _serve(
        cloud,
        "keystone",
        "keystone.server.wsgi:initialize_public_application",
        {"OS_KEYSTONE_CONFIG_FILES": str(etc / "keystone.conf")},
    )
    cells = cloud.home / "nova" / "cells-made"
    if not cells.exists():
        # Conductor, scheduler and compute host look for their cell as soon as they start.
        _nova_manage(cloud, "cell_v2", "map_cell0")
        _nova_manage(cloud, "cell_v2", "create_cell", "--name", "cell1")
        cells.touch()
    wait_for(f"Keystone of {cloud.name}", READY_S, lambda: _answers(cloud, PORTS["keystone"]), cloud)
    registered = cloud.home / "registered"
    if not registered.exists():
        run(
            *inside(cloud),
            sys.executable,
            HERE / "register.py",
            cloud.lab.clouds_yaml,
            cloud.name,
            cloud.address,
            given=cloud.password,
        )
        registered.touch()


def _start_others(cloud: Cloud) -> None:
    etc = cloud.home / "etc"
    tools = {"PATH": f"{cloud.lab.venv / 'bin'}:{environment()['PATH']}"}
    _serve(cloud, "placement", "placement.wsgi:init_application", {"OS_PLACEMENT_CONFIG_DIR": str(etc)})
    _daemon(cloud, "glance", "glance-api", ("glance-api.conf",))
    _daemon(cloud, "neutron", "neutron-server", ("neutron.conf", "ml2_conf.ini"))
    for name in ("nova-conductor", "nova-scheduler"):
        _daemon(cloud, name, name, ("nova.conf",))
    _daemon(cloud, "nova-api", "nova-api-os-compute", ("nova.conf",))
    for part in ("api", "scheduler", "volume"):
        _daemon(cloud, f"cinder-{part}", f"cinder-{part}", ("cinder.conf",), tools)
    placement = PORTS["placement"]
    wait_for(f"Placement of {cloud.name}", READY_S, lambda: _answers(cloud, placement), cloud)
    _daemon(cloud, "nova-compute", "nova-compute", ("nova.conf",), tools)


def _daemon(
    cloud: Cloud, name: str, program: str, files: Sequence[str], more: dict[str, str] | None = None
) -> None:
    settings = [f"--config-file={cloud.home / 'etc' / file}" for file in files]
    start_inside(cloud, name, (_tool(cloud, program), *settings), more)


def _serve(cloud: Cloud, name: str, application: str, more: dict[str, str]) -> None:
    where = f"{cloud.address}:{PORTS[name]}"
    start_inside(cloud, name, (_tool(cloud, "python"), HERE / "serve.py", where, application), more)


def _tool(cloud: Cloud, name: str) -> Path:
    return cloud.lab.venv / "bin" / name


def _nova_manage(cloud: Cloud, *words: str) -> None:
    settings = cloud.home / "etc" / "nova.conf"
    run(*inside(cloud), _tool(cloud, "nova-manage"), f"--config-file={settings}", *words)


def _answers(cloud: Cloud, port: int) -> bool:
    """Say whether something speaks HTTP there; which answer it gives does not matter."""
    asked = ("curl", "-s", "-o", "/dev/null", "--max-time", "5", f"http://{cloud.address}:{port}/")
    return succeeds(*inside(cloud), *asked)


def _compute_known(cloud: Cloud) -> bool:
    query = f"select 1 from {cloud.name}_nova.compute_nodes where deleted = 0 limit 1"  # noqa: S608 - our own name
    return bool(sql(cloud.lab, query).strip())
