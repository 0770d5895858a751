"""One module per change of the engine's tables."""
