"""The refusals that every disk of the transfer gives alike."""

from crossport import errors

__all__ = ["check_range", "closed_disk"]


def closed_disk() -> errors.Unavailable:
    """Return the error of a disk that is used after it was closed."""
    return errors.Unavailable(
        "transfer.disk.closed",
        "The disk was closed.",
        remedy="Look whether the disk is still there at its cloud; then try again.",
    )


def check_range(start: int, size: int, disk_size: int, *, closed: bool) -> None:
    """Raise Unavailable for a closed disk, Invalid for bytes that are not within its ``disk_size``."""
    if closed:
        raise closed_disk()
    if start < 0 or start + size > disk_size:
        raise errors.Invalid(
            "transfer.disk.beyond_end",
            f"Bytes {start} to {start + size} are not within the disk of {disk_size} bytes.",
            remedy=errors.REPORT,
        )
