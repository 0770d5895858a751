"""All abilities in one suite, for a driver that has them all."""

from crossport.testing.conformance import cloud, cloud_moving
from crossport.testing.conformance.cloud_tracking import ChangeTrackerConformance
from crossport.testing.conformance.making import ImageStoreConformance
from crossport.testing.conformance.publishing import PublisherConformance

__all__ = ["WholeCloudConformance"]


class WholeCloudConformance(
    cloud.CloudConformance,
    cloud.InventoryConformance,
    cloud.ProvisionerConformance,
    cloud.PowerConformance,
    cloud.FencerConformance,
    cloud.ProberConformance,
    cloud.ConsoleConformance,
    cloud.IdentifiedConformance,
    cloud.GatewayHostConformance,
    cloud_moving.ExporterConformance,
    ChangeTrackerConformance,
    cloud_moving.ImporterConformance,
    ImageStoreConformance,
    PublisherConformance,
):
    """Derive from this instead of from each."""
