"""How Python itself is set in the processes that work under load."""

from __future__ import annotations

import gc
import sys

# A step gives the interpreter's lock away at each call that it makes; to be made to in between costs a twentieth of the
# CPU of a worker (measured 2026-11: 5 ms against 50, 1,500 jobs at once).
SWITCH_S = 0.05


def settle() -> None:
    """Once everything is loaded: it stays, and threads change at calls, not in between."""
    gc.freeze()  # looking through what is loaded again and again cost a twentieth of the CPU
    sys.setswitchinterval(SWITCH_S)
