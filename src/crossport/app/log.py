"""The log of a server: one JSON object per line, with ids, and without values that are secret."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from crossport.spi.secret import Secret

__all__ = ["configure", "hide"]

SECRET_WORDS = ("authorization", "password", "secret", "credential", "private_key", "bearer")


def configure(level: str) -> None:
    """Write everything of ``level`` and above to standard error, that of libraries from warnings up."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer()))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def hide(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever has a secret's type or name. Nothing should log it; this is the second wall."""
    for name, value in event.items():
        if isinstance(value, Secret) or any(word in name.lower() for word in SECRET_WORDS):
            event[name] = "…"
    return event
