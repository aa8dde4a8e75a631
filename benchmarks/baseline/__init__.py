"""What Rushes is measured against: Celery as written by hand, and one bare asyncio program."""
