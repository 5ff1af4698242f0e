"""A flood of refused requests cannot fill the disk, and hides no other refusal than its own kind."""

from __future__ import annotations

from structlog.testing import capture_logs

from gateway.errors import Reason
from gateway.refusal_log import ALL_MAX, EACH_MAX, RefusalLog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_client_gets_so_many_lines_of_a_reason_and_the_others_theirs() -> None:
    refusals = RefusalLog(Clock())
    with capture_logs() as lines:
        for _ in range(10 * EACH_MAX):
            refusals.note(Reason.NOT_FOUND, "192.0.2.1", path="/x")
        refusals.note(Reason.NOT_FOUND, "192.0.2.2")
        refusals.note(Reason.BODY_TOO_LARGE, "192.0.2.1")
    assert len(lines) == EACH_MAX + 2
    assert lines[0] == {
        "event": "request_refused",
        "log_level": "info",
        "reason": Reason.NOT_FOUND,
        "client": "192.0.2.1",
        "path": "/x",
    }


def test_many_clients_share_a_limit_of_lines_and_the_next_minute_reports_what_was_left_out() -> None:
    clock = Clock()
    refusals = RefusalLog(clock)
    with capture_logs() as lines:
        for number in range(ALL_MAX + 7):
            refusals.note(Reason.NOT_FOUND, str(number))
        assert len(lines) == ALL_MAX
        clock.now += 60
        refusals.note(Reason.NOT_FOUND, "1")
        clock.now += 60
        refusals.note(Reason.NOT_FOUND, "1")
    logged = [(line["event"], line.get("refusals")) for line in lines[ALL_MAX:]]
    refused = ("request_refused", None)
    assert logged == [("refusals_not_logged", {"not_found": 7}), refused, refused]
