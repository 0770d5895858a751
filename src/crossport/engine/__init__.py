"""Durable runs: what a workflow has finished is not done again, whatever process is killed when."""

from crossport.engine.documents import Document, Documents
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter, RunPage, Runs
from crossport.engine.settings import EngineSettings, Limits

__all__ = ["Engine", "EngineSettings", "Limits", "Runs", "RunFilter", "RunPage", "Documents", "Document"]
