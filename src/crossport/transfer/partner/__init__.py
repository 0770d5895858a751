"""Copies between two sites: each starts the worker of its own end, and tells the other what it needs of it.

The site that initiated the run has the mover. It knows a partner's disk by a ticket of that partner and by
nothing else: no path, no socket, no namespace. The partner looks the ticket up among those that it gave,
judges the job itself, and starts the worker where its own cloud says.
"""
