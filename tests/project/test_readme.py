"""What the README tells to type, typed."""

from __future__ import annotations

import re

import pytest
from places import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_python_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks, one after the other, in one namespace; each `heart` pleases its unit."""
    monkeypatch.chdir(ROOT)
    session: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    made = 0
    for block in blocks:
        session.pop("heart", None)
        exec(block, session)
        if "heart" in session:
            made += 1
            features = session["get_cnn_features"](session["net"], session["heart"], ["fc8"])
            assert features["fc8"].argmax() == 13, block
    assert made == 4


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
