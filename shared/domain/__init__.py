"""The life of a job, without I/O: the standard library only, and time comes in as `now` (ms since the epoch).

Start at `transitions.py` (what an event does to a job), then `changes.py` (what that writes) and `schedule.py` (when).
"""
