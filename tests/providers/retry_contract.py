"""How every adapter reads when a call may be made again."""

from __future__ import annotations

import pytest
from recorded_answers import answer


class RetryContract:
    """Inherited by AnswerContract."""

    @pytest.mark.parametrize(
        ("header", "date", "seconds"),
        [
            ("Wed, 21 Oct 2026 07:28:40 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("Wednesday, 21-Oct-26 07:28:40 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("Wed Oct 21 07:28:40 2026", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("2026-10-21T07:28:40Z", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("Wed, 21 Oct 2026 07:28:40 -0000", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("Wed, 21 Oct 2026 09:28:40 +0200", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0),
            ("Thu, 22 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 3600),
            ("Wed, 21 Oct 2020 07:28:00 GMT", "", 0),
            ("Wed, 21 Oct 2099 07:28:00 GMT", "no date", 3600),
            ("Wed, 99 Oct 2026 07:28:00 GMT", "", None),
            ("Fri, 31 Dec 99999 23:59:59 GMT", "", None),
            ("in a while", "", None),
            # The server's clock is 1792567680.
            ("1792567720", "Wed, 21 Oct 2026 07:28:00 GMT", 40),
            ("1792567720500", "Wed, 21 Oct 2026 07:28:00 GMT", 40.5),
            *[
                (said, "", 40)
                for said in ('"40"', "40s", "40 seconds", "40, 60", "0m40s", "40000ms", " 40 ", "40.", "040")
            ],
            ("1m30s", "", 90),
            ("1 hour", "", 3600),
            *[(said, "", None) for said in ("-40", "1e3", "NaN", "PT40S", "40 parsecs", "4_0", "4" + "0s4" * 900)],
        ],
    )
    def test_a_date_says_when_to_come_back_too(self, header, date, seconds):
        headers = {"retry-after": header, **({"date": date} if date else {})}
        assert self.read_submission(answer(429, {"message": "no"}, headers)).retry_after_s == seconds
        assert self.read_query(answer(429, {"message": "no"}, headers)).retry_after_s == seconds

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"x-ratelimit-reset": "40"}, 40),
            ({"x-ratelimit-reset": "1792567720", "x-ratelimit-remaining": "0"}, 40),
            ({"ratelimit-reset": "40", "ratelimit-remaining": "0"}, 40),
            ({"x-rate-limit-reset": "2026-10-21T07:28:40Z"}, 40),
            ({"x-ratelimit-reset": "40", "retry-after": "5"}, 5),
            ({"x-ratelimit-reset": "40", "x-ratelimit-remaining": "7"}, None),
        ],
    )
    def test_the_end_of_a_rate_limits_window_says_when_to_come_back_after_a_429(self, headers, seconds):
        headers = {"date": "Wed, 21 Oct 2026 07:28:00 GMT", **headers}
        assert self.read_submission(answer(429, {"message": "no"}, headers)).retry_after_s == seconds
        without = {name: value for name, value in headers.items() if name != "retry-after"}
        assert self.read_query(answer(500, {"message": "no"}, without)).retry_after_s is None
