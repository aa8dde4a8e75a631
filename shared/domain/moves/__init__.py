"""What an event does to a job, a file for each stage of its life. `transitions.py` has the table of who may do what."""
