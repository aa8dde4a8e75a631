"""New jobs: what a request may hold (`schema.py`), what it would cost (`estimates.py`), and the one way in.

HTTP, Celery and the shell all come through `intake.py`; what callers get back is in `job_document.py`.
"""
