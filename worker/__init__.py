"""The processes that do the work: Celery workers, and the scheduler that hands due jobs to them.

`tasks.py` receives tickets, `steps.py` chooses the step; submit, poll, archive and notify are a file each.
"""

from rushes.shared.lean_imports import import_lean

# Before any module of this package imports them.
import_lean("structlog", "redis", "billiard.util", "kombu.serialization")
import_lean("celery.utils.debug", "celery.utils.threads", "celery.bootsteps")
