"""Worker for Celery's own command: `celery -A gateway.worker worker`, with the settings in environment variables.

Unlike other modules, this one acts when it is imported, because Celery looks for an application in it.
"""

from __future__ import annotations

import os

from gateway.config import read
from gateway.logs import configure
from gateway.work.start import make_worker

config = read({}, os.environ)
configure(config.log_format)
app = make_worker(config)
