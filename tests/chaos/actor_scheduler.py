"""Deterministic threads: each actor has its own thread, and only one actor runs at a time.

The operating system decides nothing: the caller of `resume` chooses which actor runs next, so the same choices make the
same run, to the last effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Died(BaseException):
    """The process of this actor was killed. The product catches no BaseException."""


class Actor:
    """A concurrent activity: a step in a worker, a request in the receiver, a turn of the scheduler."""

    def __init__(self, name: str, process: str, work: Callable[[], None], ready_at: int) -> None:
        self.name, self.process, self.work, self.ready_at = name, process, work, ready_at
        self.jobs: tuple[str, ...] = (name,)
        """The jobs that it works on."""
        self.killed = self.ended = False
        self.error: BaseException | None = None
        self.thread: ActorThread | None = None


class ActorThread(threading.Thread):
    """A thread that runs actors one after the other."""

    def __init__(self, actor_scheduler: ActorScheduler) -> None:
        super().__init__(daemon=True)
        self.baton, self.gate = actor_scheduler, threading.Lock()
        self.actor: Actor | None = None
        self.gate.acquire()
        self.start()

    def run(self) -> None:
        while True:
            self.gate.acquire()
            if self.actor is None:
                return
            self._run_actor(self.actor)
            self.actor.ended = True
            self.baton.release(self)

    def _run_actor(self, actor: Actor) -> None:
        try:
            actor.work()  # also of an actor that was killed before it began: it ends at its first effect
        except Died:
            pass
        except BaseException as error:  # the simulation reports it
            actor.error = error


class ActorScheduler:
    """Runs one actor at a time."""

    def __init__(self) -> None:
        self.running: Actor | None = None
        self._gate = threading.Lock()
        self._gate.acquire()
        self._idle: list[ActorThread] = []

    def resume(self, actor: Actor) -> None:
        """Run an actor until it pauses or ends."""
        if actor.thread is None:
            actor.thread = self._idle.pop() if self._idle else ActorThread(self)
            actor.thread.actor = actor
        self.running = actor
        actor.thread.gate.release()
        self._gate.acquire()
        self.running = None

    def pause(self) -> None:
        """Stop until the actor is resumed; raises Died if its process was killed meanwhile."""
        actor = self.running
        assert actor
        assert actor.thread
        self._gate.release()
        actor.thread.gate.acquire()
        if actor.killed:
            raise Died

    def release(self, thread: ActorThread) -> None:
        """Return the thread of an actor that has ended."""
        self._idle.append(thread)
        self._gate.release()

    def close(self) -> None:
        """End the threads."""
        for thread in self._idle:
            thread.actor = None
            thread.gate.release()
        self._idle.clear()
