"""The processes that do the work: Celery workers, and the scheduler that hands it to them."""
