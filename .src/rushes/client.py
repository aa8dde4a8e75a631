"""The Jobs API for other services: `from rushes.client import Client`."""

from rushes.shared.client import *
from rushes.shared.client import __all__ as __all__
