"""``python -m crossport.app`` is ``crossport``: how a detached server is started without a path to it."""

import sys

from crossport.app.main import main

sys.exit(main())
