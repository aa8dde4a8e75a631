"""The processes that do the work: Celery workers, and the scheduler that hands due jobs to them.

`tasks.py` receives tickets, `steps.py` chooses the step; submit, poll, archive and notify are a file each.
"""
