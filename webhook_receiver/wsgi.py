"""The app that gunicorn serves."""

from __future__ import annotations

import atexit
import os
import sys

from rushes.shared import logs
from rushes.shared.operations import doctor
from rushes.shared.services import RECEIVER_TIMEOUT_S, build
from rushes.shared.settings import SettingsError
from rushes.webhook_receiver.app import create_app

logs.configure_process()
try:
    parts = build(os.environ, RECEIVER_TIMEOUT_S)
    app = create_app(parts)
except SettingsError as error:
    sys.exit(str(error))
doctor.warn_of_redis(parts.settings)
atexit.register(app.extensions["callback_counts"].write_if_possible)
