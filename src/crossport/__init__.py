"""Crossport moves virtual machines between clouds of different owners and different hypervisors."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("crossport")
