"""Every key of the ledger, in one place.

| key | type | holds |
|---|---|---|
| `{rushes}:job:{id}` | string | the record (record.py) |
| `{rushes}:batch:{id}` | string | the record of a batch (domain/batch.py) |
| `{rushes}:batch:{id}:counts` | hash | state, `open`, `held` and more → what its jobs come to; `stopped`, `ended_at` |
| `{rushes}:batches`, `…:{tenant}` | zset, all scores 0 | ids of batches, which sort by creation |
| `{rushes}:bulk:{id}` | string | the record of a bulk action (bulk_actions.py) |
| `{rushes}:bulks` | zset, all scores 0 | ids of bulk actions, kept for 30 days |
| `{rushes}:due:{lane}` | zset | job id → when it is due, ms |
| `{rushes}:due:submit:{gateway}:{tenant}:{priority}` | zset | the same of jobs in line; so with `parked:…` |
| `{rushes}:standby:{gateway}:{tenant}:{priority}` | zset | job id in line at another gateway → from when on this one |
| | | may take it, ms; `{rushes}:standby:{gateway}` holds those of an older version |
| `{rushes}:later:{kind}:{gateway}` | zset | line (`tenant:priority`) → when it is to be looked at, ms; `kind` is |
| | | `submit`, `standby` or `parked` |
| `{rushes}:waiting:{kind}:{gateway}` | zset | line with due jobs → when the first of them was due, ms |
| `{rushes}:turns:{kind}:{gateway}` | zset | tenant with due jobs → its virtual time, 10^-6 USD over its share |
| `{rushes}:lines:{kind}:{gateway}` | hash | tenant with due jobs → the priorities of its lines, the highest first |
| `{rushes}:capped:{kind}:{gateway}` | zset | tenant with as much in flight as it may → when it is looked at again, ms |
| `{rushes}:charged:{gateway}` | hash | job id that was handed out → what its tenant was charged, 10^-6 USD |
| `{rushes}:queued` | hash | job id in line → `tenant:priority:cost`, cost in 10^-6 USD (domain/fair_shares.py) |
| `{rushes}:tenants` | hash | tenant → `share:max_in_flight`, share in thousandths (tenant_terms.py) |
| `{rushes}:tenants:digest` | hash | `digest` of all these |
| `{rushes}:leased:{lane}` | zset | job id → when the lease on it ends, ms |
| `{rushes}:start_before` | zset | job id in line → from when on it ends there (domain/start_deadline.py), ms |
| `{rushes}:index:{tenant}:{state}:{account}` | zset, all scores 0 | job ids, which sort by creation |
| `{rushes}:index:{tenant}:{state}:{account}:{first}`, | | those of ended jobs, but the newest, in leaves: up to 120 |
| `…:leaves`, `…:size` | zset, string | ids in each; the first of each leaf; how many they hold (lua/parts/leaves.lua) |
| `{rushes}:indexes` | set | the names of the indexes that were ever used |
| `{rushes}:label:{bucket}` | zset, all scores 0 | ids of jobs that have a label (domain/labels.py) of this bucket |
| `{rushes}:idempotency:leaves`, `…:{first}` | zset, 8 days | idempotency keys with the ids of their jobs and |
| | | digests of the bodies, in leaves of up to 120 (lua/parts/known_keys.lua) |
| `{rushes}:idem:{tenant}:{digest}` | string, 7 days | one of them, of an older version |
| `{rushes}:inflight` | hash | account → jobs that it has |
| `{rushes}:inflight:tenants` | hash | tenant → jobs of it that gateways have |
| `{rushes}:window:{account}` | zset | submits of the last minute |
| `{rushes}:gateway:{account}` | hash | `paused_until`, `why`, `strikes`, `trial_until` (domain/accounts.py) |
| `{rushes}:gateway:{gateway}` | hash | by an operator `stopped_until`, `stopped_why`; |
| | | `silent`: how many ends in a row came without their callback |
| `{rushes}:times:{gateway}` | hash | `model|mode|length|bucket` → how many jobs took so long (domain/timing.py) |
| `{rushes}:bills:{gateway}` | hash | `model|mode|sound|weight`, `…|ratio`: how many bills, and the sum of what each |
| | | was in estimates, both 10^-6 (domain/bills.py) |
| `{rushes}:balance:{account}` | hash | `usd` (`unlimited`, `7 units`), `at`, `asked_at`, ms, its `problem`; `tried` |
| `{rushes}:balance:{account}:{asked_at}` | string, 1 min | somebody asks for the balance that follows this one |
| `{rushes}:workers` | hash | worker → when it last showed itself, ms |
| `{rushes}:steps` | hash | kind of step → how many all workers have ended (worker/step_rates.py) |
| `{rushes}:drift` | hash | `gateway|word` → how often this status word came, which no document knows |
| `{rushes}:quarantine` | hash | id → a callback that named another task (quarantine.py), as JSON |
| `{rushes}:quarantine:at` | zset | the same ids → when each came, ms |
| `{rushes}:quarantine:count` | hash | gateway → how many such callbacks came, kept or not |
| `{rushes}:held:{day}` | hash | tenant → money held or spent that day, 10^-8 USD |
| `{rushes}:usage:{day}` | hash | `tenant|gateway|what` → count |
| `{rushes}:tally` | hash | `what|…` → count for the metrics (metric_counters.py, webhook_receiver/metrics.py) |
| `{rushes}:mark` | hash | `server` on which the ledger was last found whole, and `at`, ms |
| `{rushes}:afterlooks` | hash | when the journal is to be read once more, ms → since when it is read, ms |
| `{rushes}:audit` | hash | what the auditor found (auditor.py) → how often; `rounds`, and `round_at`, ms |
| `{rushes}:broker` | hash | scheduler → when it last tried the broker, ms, and why no message gets through, if so |
| `{rushes}:alerts` | hash | `looked_at`, ms; `episode:{id}` as JSON; `failures:{receiver}` (alert_episodes.py) |
| `{rushes}:alerts:{looked_at}` | string, 1 min | somebody looks what stands, after that look |
| `{rushes}:check` | string, 1 min | nothing: it was written to see whether writes are taken |
| `{rushes}:bell` | channel | rung when something is due now |
| the same | string, 1 s | it was rung, and no scheduler has looked since |

All begin with one hash tag, so that a cluster keeps them in one slot. A program touches only names that it is given
as keys, save the lines of tenants and the leaves of a set, whose names begin with one that it is given.

An account is named `apimart/b`; the one of a gateway's single key, `default`, by the gateway's name alone.

A lane is `submit:{gateway}`, `parked:{gateway}` (waits for a pause to end), `poll:{gateway}`, `archive`, `notify`,
`erase` or `retire`; or `expire`, where jobs are only leased; `bulk` is the lane of bulk actions. An unfinished job
stands in exactly one of due and leased, and every job in exactly one index. An ended job that owes nothing more stands
in no lane until its retention is over (operations/retirement.py).
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from rushes.shared.domain import batch, bulk, changes
from rushes.shared.domain.changes import Index
from rushes.shared.domain.job import ENDED, Job
from rushes.shared.domain.labels import Label

ROOT = "{rushes}"
ENDED_WORDS = {state.value for state in ENDED}
BELL = f"{ROOT}:bell"
INDEXES = f"{ROOT}:indexes"
LABELS = f"{ROOT}:label:"
IN_FLIGHT = f"{ROOT}:inflight"
TENANTS_IN_FLIGHT = f"{ROOT}:inflight:tenants"
WORKERS = f"{ROOT}:workers"
STEPS = f"{ROOT}:steps"
DRIFT = f"{ROOT}:drift"
MARK = f"{ROOT}:mark"
AFTERLOOKS = f"{ROOT}:afterlooks"
AUDIT = f"{ROOT}:audit"
BROKER = f"{ROOT}:broker"
ALERTS = f"{ROOT}:alerts"
BATCHES = f"{ROOT}:batches"
CHECK = f"{ROOT}:check"
TALLY = f"{ROOT}:tally"
QUEUED = f"{ROOT}:queued"
TENANTS = f"{ROOT}:tenants"
TENANTS_DIGEST = f"{ROOT}:tenants:digest"
START_BEFORE = f"{ROOT}:start_before"
BULKS = f"{ROOT}:bulks"
IDEMPOTENCY = f"{ROOT}:idempotency"
QUARANTINE = f"{ROOT}:quarantine"
QUARANTINE_AT = f"{ROOT}:quarantine:at"
QUARANTINE_COUNT = f"{ROOT}:quarantine:count"


def record(record_id: str) -> str:
    """The key of the record of a job, a batch or a bulk action: the programs treat them alike."""
    kind = "batch" if batch.is_batch(record_id) else "bulk" if record_id.startswith(bulk.PREFIX) else "job"
    return f"{ROOT}:{kind}:{record_id}"


def batch_counts(batch_id: str) -> str:
    return f"{ROOT}:batch:{batch_id}:counts"


def batches(tenant: str | None) -> str:
    """The batches of a tenant, or all."""
    return BATCHES if tenant is None else f"{BATCHES}:{tenant}"


def due(lane: str) -> str:
    return f"{ROOT}:due:{lane}"


def leased(lane: str) -> str:
    return f"{ROOT}:leased:{lane}"


def standby(gateway: str) -> str:
    return f"{ROOT}:standby:{gateway}"


def standby_line(gateway: str, line: str) -> str:
    return f"{standby(gateway)}:{line}"


# What is known of the lines of a gateway, of each kind.
LINE_SETS = ("later", "waiting", "turns", "lines", "capped")


@cache
def line_sets(kind: str, gateway: str) -> tuple[str, ...]:
    return tuple(f"{ROOT}:{name}:{kind}:{gateway}" for name in LINE_SETS)


@cache
def gateway_sets(gateway: str) -> tuple[str, ...]:
    """The sorted sets of which at least one has a member while a job waits for a gateway or is leased for it."""
    places = (due(f"submit:{gateway}"), due(f"poll:{gateway}"), due(f"parked:{gateway}"), standby(gateway))
    leases = (leased(f"submit:{gateway}"), leased(f"poll:{gateway}"))
    # A line with a job is in `later`, or its tenant is in `turns` or `capped` (lua/claim.lua).
    lines = (
        f"{ROOT}:{name}:{kind}:{gateway}" for kind in ("submit", "standby") for name in ("later", "turns", "capped")
    )
    return (*places, *leases, *lines, later("parked", gateway))


def later(kind: str, gateway: str) -> str:
    return f"{ROOT}:later:{kind}:{gateway}"


def waiting(kind: str, gateway: str) -> str:
    return f"{ROOT}:waiting:{kind}:{gateway}"


def turns(kind: str, gateway: str) -> str:
    return f"{ROOT}:turns:{kind}:{gateway}"


def charged(gateway: str) -> str:
    return f"{ROOT}:charged:{gateway}"


def index(job: Job) -> str:
    return index_name(changes.index_of(job))


def index_name(index: Index) -> str:
    return f"{ROOT}:index:{index.tenant}:{index.state.value}:{index.account or '-'}"


def is_of_ended(name: str) -> bool:
    """Whether this is the name of an index of ended jobs: most of it is in leaves (lua/parts/leaves.lua)."""
    return name.startswith(f"{ROOT}:index:") and name.rsplit(":", 2)[1] in ENDED_WORDS


def size(index: str) -> str:
    """How many stand in the leaves of an index."""
    return f"{index}:size"


def tenant_of_index(name: str) -> str:
    """The tenant of an index by its name. A tenant's name may hold colons."""
    return name.removeprefix(f"{ROOT}:index:").rsplit(":", 2)[0]


def label(label: Label) -> str:
    """The set of the jobs that have this label, and of a few that have another: the records decide.

    65,536 sets hold the labels of all: most labels are on one job (an order's number), and a key of its own costs
    Redis four times what an entry of a small set does.
    """
    return f"{LABELS}{sha256(chr(0).join(label).encode('utf-8', 'surrogatepass')).hexdigest()[:4]}"


def idempotency_of_digest(tenant: str, key_digest: str) -> str:
    """An idempotency key of an older version, which had a key of Redis for each."""
    return f"{ROOT}:idem:{tenant}:{key_digest}"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:32]


def times(gateway: str) -> str:
    return f"{ROOT}:times:{gateway}"


def bills(gateway: str) -> str:
    return f"{ROOT}:bills:{gateway}"


def balance(gateway: str) -> str:
    return f"{ROOT}:balance:{gateway}"


def balance_lease(gateway: str, asked_at: int) -> str:
    return f"{ROOT}:balance:{gateway}:{asked_at}"


def alerts_lease(looked_at: int) -> str:
    return f"{ALERTS}:{looked_at}"


def window(gateway: str) -> str:
    return f"{ROOT}:window:{gateway}"


def gateway(name: str) -> str:
    return f"{ROOT}:gateway:{name}"


def committed(day: str) -> str:
    return f"{ROOT}:held:{day}"


def usage(day: str) -> str:
    return f"{ROOT}:usage:{day}"
