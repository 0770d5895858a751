"""What everything promises that keeps a site's gateways for people, as tests.

Derive a class named ``Test…`` and give it the fixture ``stage``: gateways, and a way to let one come.
"""

from typing import Protocol

import pytest

from crossport import errors
from crossport.model.gateway import EnrollRequest, Enrolment
from crossport.spi.gateway import Gateways

__all__ = ["GatewaysConformance", "GatewaysStage"]

REQUEST = EnrollRequest(cloud="alpha", subnet="VMExportSubnet")


class GatewaysStage(Protocol):
    """Gateways under test."""

    gateways: Gateways

    async def joined(self, enrolment: Enrolment) -> None:
        """Let the gateway come that was enrolled."""
        ...


class GatewaysConformance:
    """Passes for everything that keeps gateways."""

    @pytest.fixture
    def stage(self) -> GatewaysStage:
        """Return the gateways under test."""
        raise NotImplementedError("the implementation under test gives this fixture")

    async def test_one_that_was_only_enrolled_is_not_there_yet(self, stage: GatewaysStage) -> None:
        enrolment = await stage.gateways.enroll("acme", REQUEST)
        assert (enrolment.cloud, enrolment.subnet) == ("alpha", "VMExportSubnet")
        assert len(enrolment.fingerprint) == 64
        assert await stage.gateways.gateways("acme") == ()

    async def test_one_that_joined_is_shown_with_its_seat(self, stage: GatewaysStage) -> None:
        enrolment = await stage.gateways.enroll("acme", REQUEST)
        await stage.joined(enrolment)
        (shown,) = await stage.gateways.gateways("acme")
        assert (shown.id, shown.cloud, shown.subnet) == (enrolment.gateway, "alpha", "VMExportSubnet")
        assert not shown.draining
        assert shown.joined < shown.expires
        assert await stage.gateways.gateway("acme", shown.id) == shown

    async def test_gateways_of_another_tenant_are_not_there(self, stage: GatewaysStage) -> None:
        enrolment = await stage.gateways.enroll("acme", REQUEST)
        await stage.joined(enrolment)
        assert await stage.gateways.gateways("other") == ()
        for call in (stage.gateways.gateway, stage.gateways.drain, stage.gateways.remove):
            with pytest.raises(errors.NotFound) as caught:
                await call("other", enrolment.gateway)
            assert (caught.value.code, caught.value.field) == ("gateway.unknown", "gateway")

    async def test_draining_may_be_asked_twice(self, stage: GatewaysStage) -> None:
        enrolment = await stage.gateways.enroll("acme", REQUEST)
        await stage.joined(enrolment)
        for _ in range(2):
            assert (await stage.gateways.drain("acme", enrolment.gateway)).draining
        assert (await stage.gateways.gateway("acme", enrolment.gateway)).draining

    async def test_one_that_was_removed_is_gone(self, stage: GatewaysStage) -> None:
        first, second = [await stage.gateways.enroll("acme", REQUEST) for _ in range(2)]
        for enrolment in (first, second):
            await stage.joined(enrolment)
        await stage.gateways.remove("acme", first.gateway)
        assert [one.id for one in await stage.gateways.gateways("acme")] == [second.gateway]
        with pytest.raises(errors.NotFound):
            await stage.gateways.remove("acme", first.gateway)
