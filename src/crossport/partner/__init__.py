"""The link between sites of different owners: mutual TLS between their control planes, and how trust begins.

Nothing here decides what a partner may do; whoever answers an operation does.
"""
