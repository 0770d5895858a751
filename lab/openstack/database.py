"""The one MariaDB of the lab, on a Unix socket only, and the schemas that each cloud's services use."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lab.openstack.place import SCHEMAS, Cloud, Lab
from lab.openstack.process import Broken, alive, end, run, start, wait_for
from lab.openstack.templates import render

__all__ = ["load_schemas", "make_schemas", "server", "sql", "stop_server"]

PATTERN = "pattern"
"""The cloud, in name only, whose databases are filled once and copied for each real one."""


def server(lab: Lab) -> None:
    """Start MariaDB. Nothing in a lab is worth a sync to the disk, and no port is opened."""
    home = lab.state / "mysql"
    data, socket = home / "data", home / "sock"
    home.mkdir(parents=True, exist_ok=True)
    if not (data / "mysql").is_dir():
        shutil.rmtree(data, ignore_errors=True)
        run(
            *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
            log=home / "install.log",
        )
    options = (
        f"--datadir={data}",
        f"--socket={socket}",
        f"--pid-file={home / 'mariadbd.pid'}",
        "--user=root",
        "--skip-networking",
        "--performance-schema=OFF",
        "--innodb-buffer-pool-size=96M",
        "--innodb-log-file-size=48M",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--max-connections=400",
        "--character-set-server=utf8mb3",
        "--table-open-cache=400",
    )
    start(["mariadbd", "--no-defaults", *options], _pid(lab), home / "log")
    wait_for("MariaDB", 60, lambda: _answers(lab))


def stop_server(lab: Lab) -> None:
    """End MariaDB, with time to write what it holds."""
    end([_pid(lab)], grace_s=20)


def sql(lab: Lab, statement: str, schema: str = "") -> str:
    """Run ``statement``, which goes in by the standard input: it may hold a password."""
    return run(*_client("mariadb", lab), "-N", *([schema] if schema else []), given=statement)


def make_schemas(lab: Lab) -> None:
    """Have each service make its tables once, and keep them as text, which loads in seconds, not minutes."""
    kept = lab.cache / "schemas"
    kept.mkdir(parents=True, exist_ok=True)
    needed = [name for name in SCHEMAS if name != "nova_cell0" and not (kept / f"{name}.sql").exists()]
    if not needed:
        return
    pattern = Cloud(PATTERN, 9, lab)
    words = pattern.words() | {"DATABASE": f"mysql+pymysql://root@localhost/{PATTERN}"}
    render(pattern, words)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(_make_schema, pattern, kept=kept), needed))
    shutil.rmtree(pattern.home)


def _make_schema(pattern: Cloud, name: str, kept: Path) -> None:
    lab, etc = pattern.lab, pattern.home / "etc"
    tools, log = lab.venv / "bin", pattern.home / f"{name}.log"
    schema = f"{PATTERN}_{name}"
    sql(lab, f"create database if not exists {schema}")
    nova = (tools / "nova-manage", "--config-file", etc / "nova.conf")
    commands: dict[str, tuple[str | Path, ...]] = {
        "keystone": (tools / "keystone-manage", "--config-file", etc / "keystone.conf", "db_sync"),
        "glance": (tools / "glance-manage", "--config-file", etc / "glance-api.conf", "db_sync"),
        "placement": (
            *("env", f"OS_PLACEMENT_CONFIG_DIR={etc}"),
            *(tools / "placement-manage", "--config-file", etc / "placement.conf", "db", "sync"),
        ),
        "nova_api": (*nova, "api_db", "sync"),
        "nova": (*nova, "db", "sync", "--local_cell"),
        "neutron": (
            *(tools / "neutron-db-manage", "--config-file", etc / "neutron.conf"),
            *("--config-file", etc / "ml2_conf.ini", "upgrade", "heads"),
        ),
        "cinder": (tools / "cinder-manage", "--config-file", etc / "cinder.conf", "db", "sync"),
    }
    run(*commands[name], log=log)
    draft = kept / f"{name}.new"
    draft.write_text(run(*_client("mariadb-dump", lab), schema))
    draft.rename(kept / f"{name}.sql")
    sql(lab, f"drop database {schema}")


def load_schemas(cloud: Cloud) -> None:
    """Make the databases of ``cloud`` and their user, from the kept text where they are empty."""
    lab = cloud.lab
    user = f"'cp_{cloud.name}'@'localhost'"
    sql(lab, f"create user if not exists {user} identified by '{cloud.password}'")
    for name in SCHEMAS:
        schema = f"{cloud.name}_{name}"
        sql(lab, f"create database if not exists {schema}; grant all on {schema}.* to {user}")
        if not sql(lab, f"show tables in {schema}").strip():
            kept = "nova" if name == "nova_cell0" else name
            sql(lab, (lab.cache / "schemas" / f"{kept}.sql").read_text(), schema)


def _client(program: str, lab: Lab) -> tuple[str, ...]:
    return (program, "--no-defaults", f"--socket={lab.state / 'mysql' / 'sock'}", "-uroot")


def _pid(lab: Lab) -> Path:
    return lab.state / "mysql" / "pid"


def _answers(lab: Lab) -> bool:
    if not alive(_pid(lab)):
        raise Broken(f"MariaDB ended: see {lab.state / 'mysql' / 'log'}")
    try:
        return bool(sql(lab, "select 1"))
    except Broken:
        return False
