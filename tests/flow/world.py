"""A whole Rushes in one process, its steps done one after the other in the order that a test chooses.

Everything is real (Redis, S3, HTTP, the scheduler, the steps, the receiver) save two things: what the scheduler hands
out is done here instead of by Celery, and the clock may be put forward. The gateways' tasks live in real time.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import redis
from flask.testing import FlaskClient
from outsiders import Letter, Listener
from patience import PATIENCE_S
from werkzeug.test import TestResponse

from rushes.shared import services
from rushes.shared.domain import counters, schedule
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.http import AnswerLost, HttpClient, NotSent
from rushes.shared.ledger import keys
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations import retirement
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver.app import create_app
from rushes.worker import steps
from rushes.worker.lane_capacity import BULK, lanes
from rushes.worker.scheduler import Scheduler

BUCKET = "rushes-flow"
WEBHOOK_SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
ROUNDS = 400
DAY_MS = 86_400_000
WRITES = ("PutObject", "CompleteMultipartUpload", "CopyObject", "DeleteObject")
WAITING = ("pending", "processing")
PLACES = [place(lane) for lane in (*lanes(), BULK) for place in (keys.due, keys.leased)]


class Died(BaseException):
    """A worker that was killed: no code of ours catches it."""


class Clock:
    """Real time and what was skipped of it, in ms since the epoch."""

    def __init__(self) -> None:
        self.skipped_ms = self._ticks = 0

    def tick(self) -> None:
        """What follows is later, on a machine however fast."""
        self._ticks += 1

    def __call__(self) -> int:
        return wall_clock() + self.skipped_ms + self._ticks


class Watched(HttpClient):
    """The real way out, which also keeps what was asked, and may retouch the bodies that come back."""

    def __init__(self, real: HttpClient) -> None:
        self._real = real
        self.sent: list[Request] = []
        self.fetched: list[Request] = []
        self.retouch: Callable[[bytes], bytes] = bytes
        self.ends_together = False
        """Whether calls that are made together come to their ends in the same moment."""

    def send(self, request: Request, **options: Any) -> Response:
        self.sent.append(request)
        answer = self._real.send(request, **options)
        return replace(answer, body=self.retouch(answer.body))

    def send_all(
        self,
        requests: Sequence[Request],
        *,
        may_send: Callable[[int], bool] | None = None,
        at_once: int = 0,
        **options: Any,
    ) -> Iterator[list[tuple[int, Any]]]:
        """One after another, so that a test can come between."""
        outcomes = (
            (number, self._sent(request, options) if may_send is None or may_send(number) else None)
            for number, request in enumerate(requests)
        )
        if self.ends_together:
            yield [*outcomes]
        else:
            yield from ([outcome] for outcome in outcomes)

    def _sent(self, request: Request, options: dict[str, Any]) -> Response | AnswerLost | None:
        try:
            return self.send(request, **options)
        except AnswerLost as lost:
            return lost
        except NotSent:
            return None

    def stream(self, request: Request, **options: Any) -> Any:
        self.fetched.append(request)
        return self._real.stream(request, **options)

    def close(self) -> None:
        self._real.close()


@dataclass(frozen=True)
class Stored:
    """An object as it stands in the bucket."""

    etag: str
    modified_at: Any
    metadata: Mapping[str, str]
    content_type: str
    body: bytes


class World:
    """One Rushes under these settings; its gateways' keys are its own, so that their books can be told apart."""

    def __init__(
        self, redis_url: str, gateways_url: str, porch: Listener, callbacks: bool, settings: Mapping[str, str]
    ) -> None:
        self.gateways_url, self.porch = gateways_url, porch
        self.key = f"sandbox-{time.time_ns()}"
        self.began_at = time.time()
        self.clock = Clock()
        self.control("DELETE", "/faults")
        environ = {**self._environ(redis_url), **({"RUSHES_PUBLIC_URL": porch.url} if callbacks else {}), **settings}
        built = services.build({name: value for name, value in environ.items() if value})
        self.http_client = Watched(built.http_client)
        self.services = replace(built, now=self.clock, http_client=self.http_client)
        self.ledger = self.services.ledger
        self.tickets: list[Ticket] = []
        self.scheduler = Scheduler(self.services, self._take)
        self.redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)
        self.s3 = self.services.archive._bucket.s3
        self.writes: list[tuple[str, str]] = []
        self.broken_rules_are_meant = False
        self.s3.meta.events.register("provide-client-params.s3", self._note_write)
        self._note_direct_writes(self.services.archive._curl_put)

    @cached_property
    def door(self) -> FlaskClient:
        """The receiver; most tests never ask it, and to build it takes longer than many a test."""
        return create_app(self.services).test_client()

    def close(self) -> None:
        """Close every connection: a process of tests has many worlds, and on most machines 1,024 files."""
        self.services.journal.close()
        self.http_client.close()
        self.services.archive._curl_put._http.close()
        self.s3.close()
        self.redis.close()
        self.ledger.store._client.close()

    def _environ(self, redis_url: str) -> dict[str, str]:
        gateways = {f"{name.upper()}_BASE_URL": f"{self.gateways_url}/{name}" for name in PROVIDERS}
        return {
            **gateways,
            **{f"{name.upper()}_API_KEY": self.key for name in PROVIDERS},
            "REDIS_URL": redis_url,
            "RUSHES_S3_BUCKET": BUCKET,
            "RUSHES_SECRET_KEY": "a secret of the flow",
            "RUSHES_API_KEYS": "acme:acme-key,rival:rival-key,admin:admin-key",
            "RUSHES_EGRESS_ALLOW": "127.0.0.0/8",
        }

    def _take(self, tickets: Any) -> None:
        self.tickets += [Ticket(*ticket) for ticket in tickets]

    def _note_direct_writes(self, direct: Any) -> None:
        put, put_all = direct.put, direct.put_all

        def noted(key: str, *rest: Any) -> bool | None:
            written: bool | None = put(key, *rest)
            if written is not None:  # else boto is asked, and noted
                self.writes.append(("PutObject", key))
            return written

        def all_noted(puts: Any) -> list[bool | None]:
            direct.put = put  # which is asked where no connection stands
            told: list[bool | None] = put_all(puts)
            direct.put = noted
            for (key, *_), written in zip(puts, told, strict=True):
                if written is not None:
                    self.writes.append(("PutObject", key))
            return told

        direct.put, direct.put_all = noted, all_noted

    def _note_write(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in WRITES:
            self.writes.append((model.name, params["Key"]))

    # --- what a caller does

    def api(self, method: str, path: str, body: Any = None, key: str = "acme-key", **headers: str) -> Any:
        """One call of the Jobs API."""
        sent = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): held for name, held in headers.items()}}
        return self.door.open(path, method=method, json=body, headers=sent)

    def submit(self, request: Mapping[str, Any], **fields: Any) -> str:
        """Enqueue a job; its id."""
        answer = self.api("POST", "/v1/jobs", {**request, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json["id"])

    def job(self, job_id: str) -> Job:
        found = self.ledger.get(job_id)
        assert found, f"{job_id} is not in the ledger"
        return found

    @property
    def picture(self) -> str:
        return f"{self.gateways_url}/inputs/sample.jpg"

    @property
    def motion(self) -> dict[str, Any]:
        """A motion request: every gateway but newapi can do it."""
        clip = f"{self.gateways_url}/inputs/sample.mp4"
        who = {"image_url": self.picture, "video_url": clip, "character_orientation": "image"}
        return {"model": "kling-v3-motion-control", **who}

    @property
    def text(self) -> dict[str, Any]:
        """A text request: newapi and apimodels can do it."""
        return {"model": "kling-v3", "prompt": "a red kite over the sea", "duration": 3}

    def request_for(self, gateway: str) -> dict[str, Any]:
        """A request that this gateway can do, pinned to it."""
        return {**(self.text if gateway == "newapi" else self.motion), "provider": gateway}

    # --- how time passes

    def advance(self, seconds: float) -> None:
        self.clock.skipped_ms += round(seconds * 1000)

    def begin_a_day(self) -> World:
        """Where the day ends soon, begin with the next: what is counted by the day is then counted in one."""
        left_ms = DAY_MS - self.clock() % DAY_MS
        if left_ms < DAY_MS / 8:
            self.advance(left_ms / 1000)
        return self

    def claim(self) -> list[Ticket]:
        """One turn of the scheduler: what it hands out, not yet done."""
        self.tickets = []
        self._nap_s = self.scheduler.turn(self.clock())
        return self.tickets

    def perform(self, tickets: list[Ticket]) -> None:
        """What a worker does with tickets; one that dies does none of the rest."""
        with suppress(Died):
            for ticket in tickets:
                steps.run([ticket], self.services)

    def step(self) -> int:
        """A walk over ended jobs, one turn, and all that it hands out is done; how much that was."""
        for _ in retirement.walk(self.ledger, self.services.settings.policy, self.clock()):
            pass
        tickets = self.claim()
        self.perform(tickets)
        return len(tickets)

    def exhaust(self) -> None:
        """Do all that is due now."""
        for _ in range(ROUNDS):
            if not self.step():
                return
        raise AssertionError("there is no end of what is due now")

    def run_until(self, done: Callable[[], bool]) -> None:
        """Step until it is so; where nothing is due, the gateways are waited for, and the clock is put forward."""
        for _ in range(ROUNDS):
            if done():
                return
            if not self.step():
                self.await_gateways()
                self._skip()
        raise AssertionError(
            f"it never came to that: {[self._told(job) for job in self.ledger.overview.newest(None, 20)]}"
        )

    def until(self, job_id: str, *states: State) -> Job:
        """Step until the job stands in one of these states."""
        self.run_until(lambda: self.job(job_id).state in states)
        return self.job(job_id)

    def finish(self, job_id: str) -> Job:
        """Step until the job has ended and owes nothing but to leave."""
        self.run_until(lambda: self.job(job_id).chores == (Chore.RETIRE,))
        return self.job(job_id)

    def await_gateways(self) -> None:
        """Return once every task that a gateway has of ours came to its end."""
        while waits := [task["ends_at"] for task in self.tasks() if task["state"] in WAITING]:
            time.sleep(max(0.002, max(waits) - time.time()))

    def _skip(self) -> None:
        due_at = self.next_due_at()
        assert due_at, "nothing is due any more"
        assert self._nap_s > 0, "the scheduler has nothing to hand out, and does not sleep"
        self.advance(max((due_at - self.clock()) / 1000, self._nap_s, 0.001))

    def next_due_at(self) -> int | None:
        """When the next job comes due or may go elsewhere, the next lease ends, or the next pause that holds a job."""
        with self.redis.pipeline() as pipe:
            for name in (*self._due(), keys.START_BEFORE):
                pipe.zrange(name, 0, 0, withscores=True)
            heads = [int(head[0][1]) for head in pipe.execute() if head]
        now = self.clock()
        for name in self.redis.keys(keys.standby("*")):  # who may go elsewhere by now goes when there is room
            heads += [int(at) for _, at in self.redis.zrange(name, 0, -1, withscores=True) if at > now]
        parked = {name.removeprefix(keys.due("parked:")).partition(":")[0] for name in self._parked()}
        return min([*heads, *(self.paused_until(name) for name in parked)], default=None)

    def _parked(self) -> list[str]:
        return [str(name) for name in self.redis.keys(keys.due("parked:*"))]

    def _due(self) -> list[str]:
        """Every set in which a job may be due or leased, save those of parked jobs."""
        return sorted({*PLACES, *self.redis.keys(keys.due("submit:*"))})

    def paused_until(self, gateway: str) -> int:
        """Until when a gateway gets no new job, all its accounts together."""
        settings = self.services.settings.gateways.get(gateway)
        return self.ledger.gateways.pause_of(gateway, settings.open_names if settings else ("default",)).until

    def _told(self, job: Job) -> str:
        return (
            f"{job.id} {job.state} {[(a.provider, a.status.value, a.error) for a in job.attempts]} {job.history[-3:]}"
        )

    # --- in which order things happen

    @contextmanager
    def before(self, part: object, door: str, act: Callable[[], Any]) -> Iterator[None]:
        """Something happens once, just before the next call of this door of a part."""
        real = getattr(part, door)
        acts = [act]

        def call(*args: Any, **options: Any) -> Any:
            while acts:
                acts.pop()()
            return real(*args, **options)

        with self._replaced(part, door, call):
            yield
        assert not acts, f"nobody came to {door}"

    @contextmanager
    def after(self, part: object, door: str, act: Callable[[], Any]) -> Iterator[None]:
        """Something happens once, just after the next call of this door and before its answer is known."""
        real = getattr(part, door)
        acts = [act]

        def call(*args: Any, **options: Any) -> Any:
            answer = real(*args, **options)
            while acts:
                acts.pop()()
            return answer

        with self._replaced(part, door, call):
            yield
        assert not acts, f"nobody came to {door}"

    @contextmanager
    def _replaced(self, part: object, door: str, call: Callable[..., Any]) -> Iterator[None]:
        setattr(part, door, call)
        try:
            yield
        finally:
            delattr(part, door)

    def die(self) -> None:
        raise Died

    # --- what the gateways do and know

    def control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(f"{self.gateways_url}/_sandbox{path}", data, method=method)
        with urllib.request.urlopen(call, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def fault(self, gateway: str, fault: str, **options: Any) -> None:
        """Arm a fault at a gateway."""
        self.control("POST", "/faults", {"gateway": gateway, "fault": fault, **options})

    def mend(self) -> None:
        """Switch all faults off."""
        self.control("DELETE", "/faults")

    def tasks(self, gateway: str = "") -> list[dict[str, Any]]:
        """What the gateways accepted from us, oldest first."""
        found = self.control("GET", f"/tasks?gateway={gateway}&since={self.began_at}")["tasks"]
        return [task for task in found if task["api_key"].startswith(self.key)]

    def bills(self, gateway: str = "") -> list[dict[str, Any]]:
        """What the gateways billed us for."""
        ours = {(task["gateway"], task["id"]) for task in self.tasks(gateway)}
        found = self.control("GET", f"/bills?gateway={gateway}&since={self.began_at}")["bills"]
        return [bill for bill in found if (bill["gateway"], bill["task_id"]) in ours]

    def posts(self) -> int:
        """How many submits left us."""
        return sum(request.method == "POST" and self.gateways_url in request.url for request in self.http_client.sent)

    def letter(self, job_id: str, number: int = 1, words: str = "") -> Letter:
        """The callback that a gateway sent for a job, with these words in it; waits for it."""
        return self.porch.letter(job_id, number, words)

    def deliver(self, letter: Letter) -> TestResponse:
        """Hand a callback on to the receiver."""
        signed = {name: held for name, held in letter.headers.items() if name.startswith("webhook-")}
        answer = self.door.post(letter.path, data=letter.body, content_type="application/json", headers=signed)
        self.clock.tick()  # a question that is put in the moment of a hint may have been put before it
        return answer

    def served(self, job: Job) -> bytes:
        """The clip as the job's gateway serves it."""
        attempt = job.current
        access, provider = self.services.access(attempt.provider, attempt), PROVIDERS[attempt.provider]
        event = provider.read_query(_get(provider.query_request(attempt.task_id or "", access)), access)
        return _get(provider.download_request(event.link.video_url, access)).body  # type: ignore[attr-defined]

    # --- what lies in the bucket

    def bucket(self, job: Job) -> dict[str, Stored]:
        """A job's objects by their names in its folder."""
        folder = self.services.archive.folder(job.id, job.created_at)
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", [])
        return {held["Key"].removeprefix(folder): self._stored(held["Key"]) for held in found}

    def _stored(self, key: str) -> Stored:
        there = self.s3.get_object(Bucket=BUCKET, Key=key)
        with there["Body"] as body:
            read = body.read()
        return Stored(there["ETag"], there["LastModified"], there["Metadata"], there["ContentType"], read)

    def written(self) -> list[str]:
        """What was written of jobs into the bucket, in this order; a write that was refused too."""
        return [key.rpartition("/")[2] for _, key in self.writes if key.startswith("jobs/")]

    def put(self, key: str, body: bytes) -> None:
        """Lay an input into the bucket."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def fetched(self, url: str) -> bytes:
        """What anybody gets at this address."""
        return _get(Request("GET", url)).body

    def manifest(self, job: Job) -> dict[str, Any]:
        return dict(json.loads(self.bucket(job)["manifest.json"].body))

    # --- what must always be so

    def audit(self) -> None:
        """Every unfinished job is due or leased once, the counters add up, and no gateway's rule was broken."""
        jobs = self.ledger.overview.newest(None, 1000)
        lanes = {*self._due(), *self._parked()} - {keys.due(BULK), keys.leased(BULK)}
        places = Counter(job for name in lanes for job in self.redis.zrange(name, 0, -1))
        batches = self.ledger.batches.newest(None, 100)
        closed = [batch.id for batch in batches if not self.ledger.batches.counts(batch.id)["open"]]
        assert places == Counter([*(job.id for job in jobs if schedule.lane(job) and not schedule.rests(job)), *closed])
        held = sum((counters.entries(job) for job in jobs), Counter[counters.Line]())
        counted = {name: int(count) for name, count in self.ledger.store.counters(keys.IN_FLIGHT).items() if int(count)}
        assert counted == {name: count for (kind, name, *_), count in held.items() if kind == "inflight" and count}
        broken = self.control("GET", f"/violations?since={self.began_at}")["violations"]
        assert self.broken_rules_are_meant or not broken, broken


def why(job: Job) -> str | None:
    """The code of a job's error."""
    return job.error.code if job.error else None


def digest(job: Job) -> str | None:
    """The sha256 of a job's clip."""
    return job.result.sha256 if job.result else None


def _get(request: Request) -> Response:
    call = urllib.request.Request(request.url, headers=dict(request.headers))
    with urllib.request.urlopen(call, timeout=PATIENCE_S) as answer:
        return Response(answer.status, {}, answer.read())
