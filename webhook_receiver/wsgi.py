"""What gunicorn serves."""

from __future__ import annotations

import os
import sys

from shared import logs
from shared.settings import SettingsError
from shared.wiring import RECEIVER_TIMEOUT_S, build
from webhook_receiver.app import create_app

logs.configure()
try:
    app = create_app(build(os.environ, RECEIVER_TIMEOUT_S))
except SettingsError as error:
    sys.exit(str(error))
