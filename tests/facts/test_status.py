"""Statuses: words that files hold, and which of them failed."""

from __future__ import annotations

import pickle

import pytest

from cnnpref.status import Status


def test_all_but_ok_failed() -> None:
    assert [status for status in Status if not status.failed] == [Status.OK]
    assert Status("diverged") is Status.DIVERGED


def test_a_word_of_a_newer_version_is_a_status_that_failed() -> None:
    status = Status("melted")
    assert status.failed
    assert status == Status("melted") != Status.OK
    assert len({status, Status("melted")}) == 1
    assert (str(status), f"{status}", repr(status)) == (
        "melted",
        "melted",
        "<Status.melted: 'melted'>",
    )
    assert pickle.loads(pickle.dumps(status)) == status
    assert "melted" not in list(Status)


@pytest.mark.parametrize("value", [None, 3, b"ok"])
def test_only_words_are_statuses(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(value)
