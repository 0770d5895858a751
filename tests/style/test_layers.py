"""Who may import whom: the contracts in pyproject.toml hold, and none is forgotten for a new package."""

import subprocess
import sys
import tomllib

import pytest
from tests.style.tree import ROOT

PACKAGE = ROOT / "src/crossport"
CONTRACTS: list[dict[str, object]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]

# Which layers a contract must name as soon as they exist.
MEMBERS = {
    "pure": ("errors", "units", "model", "porting", "planner"),
    "thin": ("cli", "web", "client"),
    "production": tuple(
        sorted({path.stem for path in PACKAGE.iterdir() if path.stem[0] not in "_."} - {"testing", "py"})
    ),
}


def test_imports_keep_the_layers():
    ended = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]


@pytest.mark.parametrize("contract", MEMBERS)
def test_a_contract_names_every_layer_it_is_for(contract: str):
    named: set[str] = set()
    for each in CONTRACTS:
        if each["id"] == contract:
            named.update(map(str, each["source_modules"]))  # pyright: ignore[reportArgumentType]
    present = {
        f"crossport.{layer}"
        for layer in MEMBERS[contract]
        if (PACKAGE / f"{layer}.py").exists() or (PACKAGE / layer / "__init__.py").exists()
    }
    assert present <= named, f"pyproject.toml: add to the contract {contract}: {sorted(present - named)}"
