"""Thin wrappers of outside tools: each says what it runs, runs it confined, and translates its failures."""
