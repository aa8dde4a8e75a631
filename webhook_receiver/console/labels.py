"""What a job's states, notes and errors mean, in plain words: tables, and nothing that decides."""

from __future__ import annotations

from rushes.shared.domain.job import AttemptStatus, Chore, State

# A state's name on the page, and its tone: the colour and the form of the mark beside the name.
STATES: dict[State, tuple[str, str]] = {
    State.QUEUED: ("Queued", "wait"),
    State.SUBMITTING: ("Submitting", "busy"),
    State.UNCONFIRMED: ("Unconfirmed", "warn"),
    State.RUNNING: ("Running", "busy"),
    State.ARCHIVING: ("Archiving", "busy"),
    State.COMPLETED: ("Completed", "good"),
    State.FAILED: ("Failed", "bad"),
    State.CANCELED: ("Canceled", "off"),
}
ATTEMPTS: dict[AttemptStatus, tuple[str, str]] = {
    AttemptStatus.SUBMITTING: ("Submitting", "busy"),
    AttemptStatus.UNCONFIRMED: ("Unconfirmed", "warn"),
    AttemptStatus.RUNNING: ("Running", "busy"),
    AttemptStatus.COMPLETED: ("Completed", "good"),
    AttemptStatus.FAILED: ("Failed", "bad"),
    AttemptStatus.REJECTED: ("Refused", "off"),
}

# A note of the history: its tone and what it says; a detail that has no place in that stands beneath.
NOTES: dict[str, tuple[str, str]] = {
    "queued": ("", "Accepted"),
    "adopted": ("", "Accepted: goes on with the task of the failed job, and nothing is paid again"),
    "submitting": ("", "Submitted to {detail}: the paid call was written down, then sent"),
    "waits": ("", "Waits {detail}"),
    "rerouted": ("", "Sent on to another gateway"),
    "accepted": ("good", "The gateway took it, as task {detail}"),
    "refused": ("warn", "Refused, and nothing was paid"),
    "unconfirmed": ("warn", "The answer to the paid call never came"),
    "resolved by operator": ("", "An operator decided: {detail}"),
    "resolved by policy": ("", "Decided by RUSHES_UNCONFIRMED: {detail}"),
    "confirmed": ("good", "The gateway does have it, as task {detail}"),
    "finished": ("good", "The clip is made: {detail}"),
    "no link": ("warn", "The gateway says that it is finished, but gave no link; it is asked again"),
    "task failed": ("bad", "The gateway says that the task failed"),
    "archive delayed": ("warn", "Could not be copied to the bucket yet; tried again at growing pauses"),
    "link refused": ("warn", "Rushes does not fetch the gateway's link; a better one is asked for"),
    "completed": ("good", "Archived: clip and manifest are in the bucket"),
    "failed": ("bad", "Ended: failed"),
    "canceled": ("", "Ended: canceled before any gateway had it"),
    "notified": ("good", "The caller was notified"),
    "notice failed": ("warn", "The caller could not be notified"),
    "to be notified again": ("", "The caller is to be notified again"),
    "a callback named another task": ("warn", "A callback named another task, {detail}; it was set aside"),
    "callback replayed": ("", "A callback that was set aside is followed after all"),
    "put back": ("warn", "Put back after the ledger was lost"),
}
# What an unfinished job waits for, after its state.
NEXT: dict[State, str] = {
    State.QUEUED: "Next: submit",
    State.SUBMITTING: "Under way: the paid call",
    State.UNCONFIRMED: "Next: look again, or give up",
    State.RUNNING: "Next: ask the gateway, unless it calls back before",
    State.ARCHIVING: "Next: copy the clip to the bucket",
}
CHORES: dict[Chore, str] = {
    Chore.MANIFEST: "Next: write the manifest to the bucket",
    Chore.NOTICE: "Next: notify the caller",
    Chore.RETIRE: "Leaves the ledger; what is in the bucket stays",
}

# Why a job failed, by its error's code: what happened, and what to do next, with what a retry does.
FAILURES: dict[str, tuple[str, str]] = {
    "input_rejected": (
        "An input of the request broke a rule before anything was made.",
        "Change what the message names and send a new job; the same request would fail again.",
    ),
    "no_provider": (
        "No enabled gateway can do this request; the message says why for each.",
        "Enable a gateway that can and retry, or change the request. {retry}",
    ),
    "insufficient_balance": (
        "The account at {gateway} is empty, and no other gateway could take the job in time.",
        "Top it up, end the pause on the page Gateways, then retry. {retry}",
    ),
    "content_policy": (
        "{gateway} refused the content, so no other gateway was asked.",
        "Change the prompt or the references and send a new job; a retry would be refused again.",
    ),
    "provider_error": (
        "{gateway} could not make the clip, and no gateway was left to try.",
        "Read its message, then retry; if it fails again, ask another gateway with `provider`. {retry}",
    ),
    "rate_limited": (
        "{gateway} let no call through for as long as a job may wait.",
        "Lower its cap or spread the jobs, then retry. {retry}",
    ),
    "budget_exceeded": (
        "The submit would have passed the tenant's budget of the day, so it was not sent.",
        "Raise RUSHES_DAILY_BUDGET_USD or wait for the next day (UTC), then retry. {retry}",
    ),
    "timed_out": (
        "No end was heard of in time, so we stopped waiting; {gateway} may still finish it.",
        "Retry when {gateway} has had its time. {retry}",
    ),
    "submit_unconfirmed": (
        "The paid call was sent to {gateway}, its answer never came, and it was given up unconfirmed.",
        "Look for it in {gateway}'s own list of tasks before you retry. {retry}",
    ),
    "result_expired": (
        "The clip was made, but {gateway}'s link died before it could be copied.",
        "See whether the bucket was out of reach for long, then retry. {retry}",
    ),
    "result_invalid": (
        "{gateway} delivered something that is not a whole clip.",
        "Retry. {retry}",
    ),
    "archive_failed": (
        "The clip was made, but could not be copied to the bucket.",
        "Read its message: a link that Rushes refuses is {gateway}'s to mend, or allowed in RUSHES_EGRESS_ALLOW; "
        "`rushes doctor` shows what the bucket refuses. Then retry. {retry}",
    ),
}
UNKNOWN_FAILURE = ("It failed.", "Read the timeline below, then retry. {retry}")

# What a redirect may say of what was done.
SAID = {
    "paused": "Paused. Nothing new goes there; what it has already is still waited for.",
    "resumed": "Resumed. Jobs that waited for it go on.",
    "canceled": "Canceled. No gateway had it, and nothing was paid.",
    "retried": "This is the new job.",
    "resolved": "Decided. What comes of it shows in the timeline.",
    "followed": "The gateway is asked about the task that the callback named.",
    "forgotten": "Forgotten.",
    "replayed": "The notification is sent again; the timeline shows what comes of it.",
}


def state_of(state: State | AttemptStatus) -> tuple[str, str]:
    """Name and tone of a state."""
    return ATTEMPTS[state] if isinstance(state, AttemptStatus) else STATES[state]
