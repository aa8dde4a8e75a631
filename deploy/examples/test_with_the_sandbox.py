"""Tests of a service that enqueues jobs: the sandbox fails on purpose, and its books say what was billed.

    pip install 'rushes[sandbox]' pytest
    pytest test_with_the_sandbox.py

`rushes_sandbox` comes with Rushes as a plugin of pytest.
"""

JOB = {"model": "kling-v3", "prompt": "a red kite over the sea", "provider": "kling"}


def test_a_clip_is_made_and_billed_once(rushes_sandbox):
    job = rushes_sandbox.run(**JOB)
    assert job["status"] == "completed"
    assert len(rushes_sandbox.bills("kling")) == 1


def test_a_lost_answer_is_not_paid_twice(rushes_sandbox):
    rushes_sandbox.fault("kling", "answer_lost")
    job = rushes_sandbox.run(**JOB)
    assert (job["status"], len(rushes_sandbox.bills())) == ("completed", 1)


def test_a_refused_prompt_is_told_and_costs_nothing(rushes_sandbox):
    rushes_sandbox.fault("kling", "fail_task", policy=True)
    job = rushes_sandbox.run(**JOB)
    assert job["error"]["code"] == "content_policy"
