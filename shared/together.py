"""Many answers read in one thread, over connections that stand: a thread for each costs more than the answer."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from shared.domain import wire
from shared.http11 import Answer, Line
from shared.stream import AnswerLost, Call, Stream

# Answers are waited for a moment longer, for each group of them costs whoever takes it a call to the ledger.
GROUP_S = 0.004
# Each look reads an answer from its beginning; one that comes in more pieces than this is given up here.
LOOKS = 32

Outcome = wire.Response | AnswerLost | None


class NotYet(Exception):
    """The answer has not come whole."""


class Glance(Call):
    """A call that never waits for its answer."""

    def read_wait_s(self) -> NoReturn:
        raise NotYet


class Asked:
    """A request that was sent; `keep` takes the connection back."""

    def __init__(self, method: str, line: Line, call: Call, keep: Callable[[Line], None], max_bytes: int) -> None:
        self._method, self._call, self._keep, self._max_bytes = method, call, keep, max_bytes
        self.line = line
        self.lost = AnswerLost(f"{call.origin}: TimeoutError")
        """What it comes to when the time is over."""
        self._looks = 0

    def outcome(self) -> Outcome:
        """What has come of it; raises NotYet."""
        try:
            stands = self.line.look()
        except OSError:
            stands = False
        self._looks += 1
        try:
            with self._call:
                return self._read()
        except AnswerLost as lost:
            self.line.close()
            return lost
        except NotYet:
            if stands and self._looks < LOOKS:
                self.line.unread()
                raise
            self.line.close()
            return None

    def _read(self) -> wire.Response:
        answer = Answer(self.line, self._method, self._call.read_wait_s)
        stream = Stream(answer, self.line, self._call, self._keep).uncoded()
        body = stream.whole(self._max_bytes)
        stream.close()
        return wire.Response(stream.status, stream.headers, body)


def answers(asked: Sequence[Asked | None], deadline_s: float) -> Iterator[list[tuple[int, Outcome]]]:
    """What comes, in groups, each with its number; first what was not sent; what has not come in time is lost."""
    ends_at = time.monotonic() + deadline_s
    waiting = {one.line.fileno(): (number, one) for number, one in enumerate(asked) if one}
    news = select.poll()
    for file in waiting:
        news.register(file, select.POLLIN)
    try:
        if None in asked:
            yield [(number, None) for number, one in enumerate(asked) if one is None]
        while waiting and (left_s := ends_at - time.monotonic()) > 0:
            if group := _come(news, waiting, left_s):
                yield group
        if waiting and (group := _come(news, waiting, 0)):  # what came while the groups before it were dealt with
            yield group
        if waiting:
            yield [(number, one.lost) for number, one in waiting.values()]
    finally:
        for _, one in waiting.values():
            one.line.close()


def _come(news: select.poll, waiting: dict[int, tuple[int, Asked]], left_s: float) -> list[tuple[int, Outcome]]:
    ready = news.poll(1000 * left_s)
    if len(ready) < len(waiting):
        time.sleep(GROUP_S)
        ready = news.poll(0)
    group = []
    for file, _ in ready:
        number, one = waiting[file]
        try:
            group.append((number, one.outcome()))
        except NotYet:
            continue
        news.unregister(file)
        del waiting[file]
    return group
