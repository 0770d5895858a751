"""Suites of promises: one per Protocol, for every implementation, outside ones included."""
