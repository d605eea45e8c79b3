"""A process that computes many units takes no more memory and opens no more files as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from long_run import curve


@pytest.mark.slow
def test_memory_and_open_files_stay_what_they_are(tmp_path: Path) -> None:
    moments = list(curve(150, tmp_path))  # by two methods
    assert moments[-1].units == 300
    settled = moments[len(moments) // 4 :]
    assert {moment.files for moment in settled} == {settled[0].files}
    half = len(settled) // 2
    early, late = (max(each.memory for each in part) for part in (settled[:half], settled[half:]))
    assert late - early < 16  # MiB; a unit's images alone are 0.006
