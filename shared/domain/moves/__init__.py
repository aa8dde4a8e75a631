"""What an event does to a job: one file for each stage of its life.

`transitions.py` has the table that says which event may move a job in which state; nothing else calls these.
"""
