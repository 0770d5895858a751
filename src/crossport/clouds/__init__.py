"""The kinds of clouds that Crossport can be connected to: one package each, none imports another."""
