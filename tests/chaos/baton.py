"""Many hands, one baton: actors run in threads of their own, but only who holds the baton moves.

Nothing is left to the operating system: who goes next is decided by whoever asks `resume`, so the same decisions make
the same run, to the last effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Died(BaseException):
    """The process of this actor was killed: no code of ours catches it."""


class Actor:
    """Something that goes on by itself: a step in a worker, a request in the receiver, a turn of the scheduler."""

    def __init__(self, name: str, home: str, work: Callable[[], None], ready_at: int) -> None:
        self.name, self.home, self.work, self.ready_at = name, home, work, ready_at
        self.jobs: tuple[str, ...] = (name,)
        """Whose end it may be answerable for."""
        self.doomed = self.ended = False
        self.trouble: BaseException | None = None
        self.hand: Hand | None = None


class Hand(threading.Thread):
    """A thread that does one actor's work after another's."""

    def __init__(self, baton: Baton) -> None:
        super().__init__(daemon=True)
        self.baton, self.gate = baton, threading.Lock()
        self.actor: Actor | None = None
        self.gate.acquire()
        self.start()

    def run(self) -> None:
        while True:
            self.gate.acquire()
            if self.actor is None:
                return
            self._act(self.actor)
            self.actor.ended = True
            self.baton.rest(self)

    def _act(self, actor: Actor) -> None:
        try:
            actor.work()  # of one that was killed before it began, too: it gets no further than its first effect
        except Died:
            pass
        except BaseException as trouble:  # told by whoever directs
            actor.trouble = trouble


class Baton:
    """Handed to one actor at a time."""

    def __init__(self) -> None:
        self.holder: Actor | None = None
        self._gate = threading.Lock()
        self._gate.acquire()
        self._idle: list[Hand] = []

    def resume(self, actor: Actor) -> None:
        """Let an actor go on until it pauses or ends."""
        if actor.hand is None:
            actor.hand = self._idle.pop() if self._idle else Hand(self)
            actor.hand.actor = actor
        self.holder = actor
        actor.hand.gate.release()
        self._gate.acquire()
        self.holder = None

    def pause(self) -> None:
        """Give the baton back, and go on when it comes again; raises Died if the process was killed meanwhile."""
        actor = self.holder
        assert actor
        assert actor.hand
        self._gate.release()
        actor.hand.gate.acquire()
        if actor.doomed:
            raise Died

    def rest(self, hand: Hand) -> None:
        """An actor came to its end."""
        self._idle.append(hand)
        self._gate.release()

    def dismiss(self) -> None:
        """End the threads."""
        for hand in self._idle:
            hand.actor = None
            hand.gate.release()
        self._idle.clear()
