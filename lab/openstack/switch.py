"""Open vSwitch with its userspace datapath, and OVN: what Neutron's networks are made of."""

from pathlib import Path

from lab.openstack.place import Cloud
from lab.openstack.process import inside, run, start_inside, wait_for

__all__ = ["start_switch"]

OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
OVN_SCHEMAS = "/usr/share/ovn"


def start_switch(cloud: Cloud) -> None:
    """Start the databases, the switch and OVN's controllers of ``cloud``, joined to its provider network."""
    own = cloud.home / "own"
    _database(own / "etc-ovs" / "conf.db", OVS_SCHEMA)
    for side in ("nb", "sb"):
        _database(own / "lib-ovn" / f"{side}.db", f"{OVN_SCHEMAS}/ovn-{side}.ovsschema")
    start_inside(
        cloud,
        "ovsdb-server",
        (
            *("ovsdb-server", "/etc/openvswitch/conf.db", "--remote=punix:/run/openvswitch/db.sock"),
            "--unixctl=/run/openvswitch/ovsdb.ctl",
        ),
    )
    for side, port in (("nb", 6641), ("sb", 6642)):
        start_inside(
            cloud,
            f"ovn-{side}",
            (
                *("ovsdb-server", f"/var/lib/ovn/{side}.db", f"--remote=punix:/run/ovn/ovn{side}_db.sock"),
                # For Neutron, in this network namespace alone.
                f"--remote=ptcp:{port}:127.0.0.1",
                f"--unixctl=/run/ovn/{side}.ctl",
            ),
        )
    for socket in (own / "run-ovs" / "db.sock", own / "run-ovn/ovnnb_db.sock", own / "run-ovn/ovnsb_db.sock"):
        wait_for(f"{socket.name} of {cloud.name}", 30, socket.is_socket, cloud)
    _settings(cloud)
    start_inside(
        cloud,
        "ovs-vswitchd",
        ("ovs-vswitchd", "unix:/run/openvswitch/db.sock", "--unixctl=/run/openvswitch/vswitchd.ctl"),
    )
    run(
        *inside(cloud),
        *("ovs-vsctl", "--may-exist", "add-br", "br-ex"),
        *("--", "set", "bridge", "br-ex", "datapath_type=netdev"),
        *("--", "--may-exist", "add-port", "br-ex", "ext0"),
    )
    start_inside(
        cloud,
        "ovn-northd",
        (
            *("ovn-northd", "--ovnnb-db=unix:/run/ovn/ovnnb_db.sock"),
            *("--ovnsb-db=unix:/run/ovn/ovnsb_db.sock", "--unixctl=/run/ovn/northd.ctl"),
        ),
    )
    # It was seen to crash as it connects to a switch that has just begun. As in Debian's own service,
    # a monitor (ovs-vswitchd(8), "Daemon options") starts it anew then.
    watched = ("ovn-controller", "--monitor", "unix:/run/openvswitch/db.sock")
    start_inside(cloud, "ovn-controller", watched)


def _database(file: Path, schema: str) -> None:
    if not file.exists():
        run("ovsdb-tool", "create", file, schema)


def _settings(cloud: Cloud) -> None:
    settings = {
        "system-id": cloud.host,
        "hostname": cloud.host,
        "ovn-remote": "unix:/run/ovn/ovnsb_db.sock",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": "127.0.0.1",
        "ovn-bridge": "br-int",
        "ovn-bridge-datapath-type": "netdev",
        "ovn-bridge-mappings": "physnet1:br-ex",
        "ovn-cms-options": "enable-chassis-as-gw",
    }
    run(*inside(cloud), "ovs-vsctl", "--no-wait", "init")
    told = [f"external-ids:{name}={value}" for name, value in settings.items()]
    run(*inside(cloud), "ovs-vsctl", "--no-wait", "set", "open_vswitch", ".", *told)
