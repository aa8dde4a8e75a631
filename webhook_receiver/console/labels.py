"""What states, notes and errors of a job mean, in plain words. Tables only; nothing here decides."""

from __future__ import annotations

from rushes.shared.domain.job import AttemptStatus, Chore, State

# The name of a state on the page, and its tone: colour and shape of the mark beside the name.
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

# A note of the history: its tone and its text; a detail without a place in the text stands below it.
NOTES: dict[str, tuple[str, str]] = {
    "queued": ("", "Accepted"),
    "adopted": ("", "Accepted. It goes on with the task of the failed job; nothing is paid again"),
    "submitting": ("", "Submitted to {detail}: the paid call was recorded, then sent"),
    "waits": ("", "Waits {detail}"),
    "rerouted": ("", "Passed on to another gateway"),
    "accepted": ("good", "The gateway took it, as task {detail}"),
    "refused": ("warn", "Refused, and nothing was paid"),
    "unconfirmed": ("warn", "The answer to the paid call never came"),
    "resolved by operator": ("", "An operator decided: {detail}"),
    "resolved by policy": ("", "Decided by RUSHES_UNCONFIRMED: {detail}"),
    "sent again": ("", "Sent again under the same id, which the gateway takes once: {detail}"),
    "confirmed": ("good", "The gateway has it, as task {detail}"),
    "finished": ("good", "The clip is made: {detail}"),
    "no link": ("warn", "The gateway reports it finished, but gave no link; it is asked again"),
    "task failed": ("bad", "The gateway reports that the task failed"),
    "archive delayed": ("warn", "Could not be copied to the bucket yet; tried again at growing pauses"),
    "download failed": ("warn", "The gateway's link gave no whole clip yet; tried again at growing pauses"),
    "link refused": ("warn", "Rushes does not fetch the link of the gateway, and asks for another"),
    "completed": ("good", "Archived: clip and manifest are in the bucket"),
    "failed": ("bad", "Ended: failed"),
    "canceled": ("", "Ended: canceled before any gateway had it"),
    "notified": ("good", "The caller was notified"),
    "notice failed": ("warn", "The caller could not be notified"),
    "to be notified again": ("", "The caller is to be notified again"),
    "a callback named another task": ("warn", "A callback named another task, {detail}; it is in quarantine"),
    "callback replayed": ("", "A callback from the quarantine was replayed"),
    "clip kept as it came": ("warn", "The clip is kept as it came: {detail}"),
    "thumbnail dropped": ("", "Without a thumbnail: {detail}"),
    "erasure requested": ("", "To be erased, {detail}; its content left this record"),
    "erasure delayed": ("warn", "Could not be erased everywhere yet; tried again"),
    "erased": ("good", "Erased: nothing of its content is left in bucket and journal"),
    "put back": ("warn", "Put back after the ledger was lost"),
}
# What an unfinished job waits for, by its state.
NEXT: dict[State, str] = {
    State.QUEUED: "Next: submit",
    State.SUBMITTING: "Under way: the paid call",
    State.UNCONFIRMED: "Next: check again, or give up",
    State.RUNNING: "Next: ask the gateway, unless its callback comes first",
    State.ARCHIVING: "Next: copy the clip to the bucket",
}
CHORES: dict[Chore, str] = {
    Chore.MANIFEST: "Next: write the manifest to the bucket",
    Chore.NOTICE: "Next: notify the caller",
    Chore.ERASE: "Next: erase the clip in the bucket, and the job in the journal",
    Chore.RETIRE: "Next: leave the ledger; the objects in the bucket stay",
}

# Why a job failed, by the code of its error: what happened, and what to do next; {retry} is what a retry does.
FAILURES: dict[str, tuple[str, str]] = {
    "input_rejected": (
        "The request, or an input of it, was not accepted, and nothing was made.",
        "Change what the message names and send a new job. The same request would be refused again.",
    ),
    "no_provider": (
        "No enabled gateway can serve this request. The message says why for each.",
        "Enable a gateway that can, then retry; or change the request. {retry}",
    ),
    "insufficient_balance": (
        "The account at {gateway} is empty, and no other gateway could take the job in time.",
        "Top it up, resume the gateway on the page Gateways, then retry. {retry}",
    ),
    "content_policy": (
        "{gateway} refused the content, so no other gateway was asked.",
        "Change the prompt or the references and send a new job. A retry would be refused again.",
    ),
    "provider_error": (
        "{gateway} could not make the clip, and no other gateway was left to try.",
        "Read its message, then retry. If it fails again, choose another gateway with `provider`. {retry}",
    ),
    "rate_limited": (
        "{gateway} accepted no call for as long as a job may wait.",
        "Lower its cap or send jobs more slowly, then retry. {retry}",
    ),
    "budget_exceeded": (
        "The submit would have exceeded a budget, the tenant's of the day or month or its batch's, so it was not sent.",
        "Raise RUSHES_DAILY_BUDGET_USD or the budgets in RUSHES_TENANTS_FILE, or wait for the next day or month (UTC), "
        "then retry; of a batch send what is left as a new one. {retry}",
    ),
    "start_deadline_passed": (
        "No gateway took it before its `start_before`, so it was not sent, and nothing was paid.",
        "Send it again with a later `start_before`, or with more gateways to choose from.",
    ),
    "timed_out": (
        "{gateway} reported no end in time, so Rushes stopped waiting. It may still finish the clip.",
        "Give {gateway} more time, then retry. {retry}",
    ),
    "submit_unconfirmed": (
        "The paid call was sent to {gateway}, its answer never came, and the job was given up unconfirmed.",
        "Look for it in {gateway}'s own list of tasks before you retry. {retry}",
    ),
    "result_expired": (
        "The clip was made, but {gateway}'s link expired before the clip could be copied.",
        "Check whether the bucket was out of reach for long, then retry. {retry}",
    ),
    "result_invalid": (
        "{gateway} delivered something that is not a whole clip.",
        "Retry. {retry}",
    ),
    "archive_failed": (
        "The clip was made, but could not be copied to the bucket.",
        "Read its message. A link that Rushes refuses must be fixed by {gateway}, or allowed in RUSHES_EGRESS_ALLOW. "
        "`rushes doctor` shows what the bucket refuses. Then retry. {retry}",
    ),
}
UNKNOWN_FAILURE = ("It failed.", "Read the timeline below, then retry. {retry}")

# The title of an alert, by its code.
ALERTS: dict[str, str] = {
    "budget_80": "A budget is almost used",
    "budget_100": "A budget is used up",
    "gateway_paused": "A gateway is paused",
    "account_missing": "Jobs wait for a key that is not set",
    "balance_low": "A balance is low",
    "cost_drift": "Bills differ from estimates",
    "price_unknown": "A price is unknown",
    "unconfirmed_waiting": "Paid calls without an answer",
    "links_at_risk": "Clips not archived before their links expire",
    "oldest_overdue": "Work is late",
}

# The text after an action, by the `done` of the redirect.
DONE_TEXTS = {
    "paused": "Paused. It gets no new jobs; Rushes still waits for those that it has.",
    "resumed": "Resumed. Jobs that waited for it go on.",
    "canceled": "Canceled. No gateway had it, and nothing was paid.",
    "retried": "This is the new job.",
    "batch_canceled": "Canceled. What no gateway has yet is not submitted; what one has goes on.",
    "batch_retried": "Each failed job is tried again, as a new job.",
    "batch_retried_partly": "Not all could be tried again. Press once more for the rest: none is paid twice.",
    "resolved": "Decided. The timeline shows what happens next.",
    "callback_replayed": "The gateway is asked about the task that the callback named.",
    "callback_deleted": "Deleted.",
    "aborted": "Aborted. What it did stays done.",
    "erased": "It is being erased. The timeline shows when all of it is gone.",
    "notified": "The notification is sent again. The timeline shows the result.",
}


def state_label(state: State | AttemptStatus) -> tuple[str, str]:
    """Name and tone of a state."""
    return ATTEMPTS[state] if isinstance(state, AttemptStatus) else STATES[state]
