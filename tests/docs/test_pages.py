"""What the pages of docs/ and the READMEs tell to type, typed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from pages import Session, blocks, parse
from places import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [page for page in [ROOT / "README.md", *DOCS] if any(blocks(page))]
READMES = sorted({*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md")})


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=title)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, in one folder; a `heart` that a block makes pleases its unit."""
    shutil.copytree(ROOT / "nets", tmp_path / "nets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    session = Session()
    for block in blocks(page):
        session.names.pop("heart", None)
        session.run(block)
        if "heart" in session.names:
            features = session.names["get_cnn_features"](
                session.names["net"], session.names["heart"], ["fc8"]
            )
            assert features["fc8"].argmax() == 13, block.code


@pytest.mark.parametrize("page", DOCS, ids=title)
def test_a_config_on_a_page_has_a_name(page: Path) -> None:
    assert [b.code for b in blocks(page) if b.language == "yaml" and not b.file] == []


@pytest.mark.parametrize("page", READMES, ids=title)
def test_commands_in_readmes_exist(page: Path) -> None:
    lines = re.findall(r"^ {4}(cnnpref .*)$", page.read_text().replace("\\\n", " "), re.MULTILINE)
    for line in lines:
        parse(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", [*READMES, *DOCS], ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert [x for x in links if "://" not in x and not (page.parent / x).exists()] == []
