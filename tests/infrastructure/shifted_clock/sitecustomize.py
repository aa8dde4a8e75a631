"""On PYTHONPATH: a process whose wall clock is CLOCK_AHEAD_S ahead. (libfaketime makes Python's sleeps fail.)"""

import os
import time

_ahead_s = int(os.environ.get("CLOCK_AHEAD_S", "0"))
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _ahead_s
time.time_ns = lambda: _time_ns() + _ahead_s * 1_000_000_000
