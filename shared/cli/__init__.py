"""The command `rushes`: `main.py` lists its commands, `output.py` says how they print and end.

Most speak to a service through the client; doctor, recover and audit work on Redis and the bucket themselves.
"""
