"""Real clouds on one machine, for tests and benches; nothing of it is shipped."""
