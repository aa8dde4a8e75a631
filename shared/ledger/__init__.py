"""Redis: the record of every job, when it is due, who has leased it, and all counters.

`ledger.py` is the door; `store.py` says what a store must do, `redis_store.py` does it with the programs in `lua/`.
Every door raises LedgerUnavailable where Redis is out of reach or takes no writes.
"""
