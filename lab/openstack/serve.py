"""Serve one WSGI application of OpenStack: ``serve.py ADDRESS:PORT MODULE:FACTORY``.

Keystone and Placement read the arguments of the process by oslo.config when they are made, and end at those
that they do not know: the launcher's own are taken away before that, which ``waitress-serve --call`` cannot.
"""

import importlib
import sys

listen, target = sys.argv[1:3]
sys.argv[1:] = []
module, factory = target.split(":")
application = getattr(importlib.import_module(module), factory)()
# Of OpenStack's own environment, as the application is.
importlib.import_module("waitress").serve(application, listen=listen, threads=4, ident=None)
