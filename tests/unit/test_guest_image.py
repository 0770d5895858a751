"""Building the small guest's image: what is refused, what is named when missing, that builds are equal."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossport import errors
from crossport.appliance import PACKAGES, programs
from crossport.testing.guest import Recipe, build_guest
from crossport.units import MIB

KEPT = Path.home() / ".cache/crossport/guest"


@pytest.mark.parametrize("size", [8 * MIB, 56 * MIB + 512], ids=["too-small", "not-whole-mib"])
def test_a_disk_that_cannot_hold_the_guest_is_refused(size: int) -> None:
    with pytest.raises(errors.Invalid) as refusal:
        Recipe(size=size)
    assert refusal.value.field == "size"


def test_a_missing_program_is_named_with_its_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SEARCH", "/nonexistent")
    with pytest.raises(errors.NotFound, match="apt-get install mtools"):
        programs.located("mcopy")
    assert "mtools" in PACKAGES


def test_two_builds_at_once_are_equal_to_one_made_elsewhere(tmp_path: Path) -> None:
    # Only the kernel's package is shared: each cache builds for itself.
    kernel = build_guest(tmp_path / "first.raw", cache=KEPT)
    package = next((KEPT / "kernel/cloud").glob("*.deb"))
    cache = tmp_path / "cache"
    (cache / "kernel/cloud").mkdir(parents=True)
    (cache / "kernel/cloud" / package.name).symlink_to(package)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(build_guest, tmp_path / f"{name}.raw", cache=cache) for name in ("a", "b")]
        digests = {job.result().digest for job in jobs}
    assert digests == {kernel.digest}
    first = (tmp_path / "first.raw").read_bytes()
    assert (tmp_path / "a.raw").read_bytes() == first
    assert (tmp_path / "b.raw").read_bytes() == first
    assert [path.suffix for path in (cache / "images").iterdir()] == [".raw"]
