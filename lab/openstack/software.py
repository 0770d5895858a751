"""OpenStack's own Python packages, in an environment of their own, exactly as the lock file names them."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from lab.openstack.place import Lab
from lab.openstack.process import environment, run

__all__ = ["install"]

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
UV = HERE.parents[1] / ".venv" / "bin" / "uv"
DEBIAN_PYTHON = "/usr/bin/python3"
"""The bindings of libvirt come from Debian and belong to this one."""
BINDINGS = Path("/usr/lib/python3/dist-packages")


def install(lab: Lab) -> None:
    """Make the environment anew when the lock file is not the one that it was made from."""
    stamp = lab.venv / "lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    shutil.rmtree(lab.venv, ignore_errors=True)
    # Other tables may belong to other packages.
    shutil.rmtree(lab.cache / "schemas", ignore_errors=True)
    run(UV, "venv", "--quiet", "--python", DEBIAN_PYTHON, lab.venv)
    python = lab.venv / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--require-hashes", "--python", python, "-r", LOCK)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for binding in (*BINDINGS.glob("libvirt*.py"), *BINDINGS.glob("libvirtmod*.so")):
        (packages / binding.name).symlink_to(binding)
    # What does not compile is what nothing loads (examples for other Pythons): the exit code says nothing.
    subprocess.run(
        [python, "-m", "compileall", "-q", "-j2", packages],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    stamp.write_text(digest)
