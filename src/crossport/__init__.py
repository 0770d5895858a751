"""Crossport moves virtual machines between clouds of different owners and different hypervisors."""

__all__ = ["__version__"]

__version__: str
"""Read when it is asked for: workers, of which many start, never do, and reading it takes them a while."""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - a tenth of a worker's start

    return version("crossport")
