"""The unit file of the gateway: systemd understands it; what it starts runs, joins and ends as it says."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.gateway import rig
from tests.unit.gateway.rig import EXPORT, Site

UNITS = Path(__file__).resolve().parents[3] / "packaging/systemd"
GATEWAY = UNITS / "crossport-gateway.service"
PROGRAM = Path(sys.executable).with_name("crossport")
LONG_S = 150.0


def values(key: str) -> list[str]:
    """Return what the gateway's unit file says of a key."""
    return re.findall(rf"^{key}=(.*)$", GATEWAY.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_it(unit: Path, tmp_path: Path) -> None:
    # Where the program lies is another thing on a user's machine than here.
    text = unit.read_text().replace("/opt/crossport/bin/crossport", str(PROGRAM))
    (copy := tmp_path / unit.name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", "--generators=no", str(copy)]
    told = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def started(home: Path, options: str) -> subprocess.Popen[bytes]:
    """Start what the unit file starts, in the environment that it gives."""
    [command], [environment] = values("ExecStart"), values("Environment")
    name, _, value = environment.partition("=")
    argv = [str(PROGRAM) if word.startswith("/opt/crossport/") else word for word in shlex.split(command)]
    at = argv.index("$CROSSPORT_GATEWAY_OPTIONS")
    argv[at : at + 1] = options.split()
    known = {name: value.replace("%S", str(home)), "PATH": os.environ["PATH"], "HOME": str(home)}
    with (home / "log").open("ab") as log:
        return subprocess.Popen(argv, env=known, stdout=log, stderr=log, umask=0o077)


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, LONG_S)


async def test_what_it_starts_joins_runs_on_without_the_file_and_ends_as_it_says(tmp_path: Path) -> None:
    site = await rig.opened(tmp_path)
    enrolment = await site.enrolled(EXPORT)
    (home := tmp_path / "machine").mkdir(mode=0o700)
    (join := home / "gateway.join").write_text(enrolment.join)
    process = started(home, f"--join {join} --authority {enrolment.fingerprint}")
    try:
        await until_connected(site, enrolment.gateway)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
        join.unlink()

        process = started(home, "")
        await until_connected(site, enrolment.gateway)
        await site.hub.remove("acme", enrolment.gateway)
        # Refused by its site: systemd does not start it again.
        assert str(await ended(process)) in values("RestartPreventExitStatus")
    finally:
        process.kill()
        process.wait()
        await site.close()


async def until_connected(site: Site, gateway: str) -> None:
    async with asyncio.timeout(LONG_S):
        while not site.connected(gateway):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
