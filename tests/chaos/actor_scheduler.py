"""Deterministic concurrency: each actor has a stack of its own (a greenlet), and only one actor runs at a time.

The operating system decides nothing: the caller of `resume` chooses which actor runs next, so the same choices make the
same run, to the last effect. Threads would do it too; to hand over from one to another costs more than what an actor
does between two effects.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import greenlet


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
        self.greenlet: greenlet | None = None

    def run(self) -> None:
        """Do its work, to the end."""
        try:
            self.work()  # also of an actor that was killed before it began: it ends at its first effect
        except Died:
            pass
        except BaseException as error:  # the simulation reports it
            self.error = error
        self.ended = True


class ActorScheduler:
    """Runs one actor at a time."""

    def __init__(self) -> None:
        self.running: Actor | None = None

    def resume(self, actor: Actor) -> None:
        """Run an actor until it pauses or ends."""
        if actor.greenlet is None:
            actor.greenlet = greenlet(actor.run)
        self.running = actor
        actor.greenlet.switch()
        self.running = None

    def pause(self) -> None:
        """Stop until the actor is resumed; raises Died if its process was killed meanwhile."""
        actor = self.running
        assert actor
        assert actor.greenlet
        assert actor.greenlet.parent
        actor.greenlet.parent.switch()
        if actor.killed:
            raise Died
