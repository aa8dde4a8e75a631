"""The web process: callbacks of gateways, the Jobs API for services, the console for people, metrics.

`app.py` joins the blueprints. A callback makes at most one ledger call before it is answered.
"""

from rushes.shared.lean_imports import import_lean

# Before any module of this package imports them.
import_lean("structlog", "redis", "flask_smorest.spec")
