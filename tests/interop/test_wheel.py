"""The wheel in an environment of its own, away from the checkout: it holds what it needs and starts."""

import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".venv/bin/uv"


def run(*command: str | Path, cwd: Path) -> str:
    """Return what ``command`` prints; fail with what it complained about."""
    ended = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("crossport-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """A new environment with the wheel and the locked versions of what it needs, and nothing else."""
    folder = wheel.parent
    locked = run(
        UV, "export", "--locked", "--quiet", "--no-dev", "--no-emit-project", "--no-hashes", cwd=ROOT
    )
    (folder / "locked.txt").write_text(locked)
    place = folder / "environment"
    run(UV, "venv", "--quiet", "--python", ROOT / ".venv/bin/python", place, cwd=folder)
    python = place / "bin/python"
    run(UV, "pip", "install", "--quiet", "--python", python, "-c", folder / "locked.txt", wheel, cwd=folder)
    return place


def test_the_wheel_brings_the_unit_file_and_no_tests(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("data/lib/systemd/system/crossport-serve.service") for name in names)
    assert "crossport/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "scripts/"))]


def test_the_unit_file_starts_the_program_where_a_venv_puts_it(environment: Path):
    unit = (environment / "lib/systemd/system/crossport-serve.service").read_text()
    assert "\nExecStart=/opt/crossport/bin/crossport serve\n" in unit
    assert (environment / "bin/crossport").exists()


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_program_starts_away_from_the_checkout(environment: Path, tmp_path: Path, option: str):
    told = run(environment / "bin/crossport", option, cwd=tmp_path)
    assert ("0." in told) if option == "--version" else ("migrate" in told)


def test_every_module_can_be_imported_without_the_development_tools(environment: Path, tmp_path: Path):
    # Alembic runs the files under migrations itself; the suites under testing need pytest; two signers and a
    # driver need an extra of the package each, and are imported where a key or a cloud is of that kind.
    left_out = ("testing", "migrations", "__main__", "key_service", "pkcs11_signer", "openstack")
    script = (
        "import importlib, pkgutil, crossport\n"
        "for module in pkgutil.walk_packages(crossport.__path__, 'crossport.'):\n"
        f"    if not any(part in module.name.split('.') for part in {left_out}):\n"
        "        importlib.import_module(module.name)\n"
        "print(crossport.__file__)\n"
    )
    told = run(environment / "bin/python", "-W", "error", "-c", script, cwd=tmp_path)
    assert told.startswith(str(environment))
