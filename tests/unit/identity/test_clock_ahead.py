"""A site that was made while its clock ran ahead works once the clock is right."""

import time
from pathlib import Path

from cryptography import x509

from crossport.identity import SiteIdentity


class Off:
    """A clock that is some seconds off."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + self._seconds

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_an_authority_made_a_day_ahead_is_valid_now(tmp_path: Path):
    SiteIdentity.open(tmp_path / "identity", "site", clock=Off(86400))
    now = SiteIdentity.open(tmp_path / "identity", "site", clock=Off(0))
    authority = x509.load_pem_x509_certificate(now.authority_pem.encode())
    assert (
        authority.not_valid_before_utc.timestamp() < time.time() < authority.not_valid_after_utc.timestamp()
    )
