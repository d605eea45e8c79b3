"""Sphinx: `make docs` writes docs/_build/index.html. Every warning is an error."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

# READMEs that are pages here, too: each page includes the file, so that there is one text.
PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "config/README.md": "config",
    "nets/README.md": "nets",
    "results/README.md": "results",
    "tests/benchmarks/README.md": "benchmarks",
    "workflow/README.md": "workflow",
    "workflow/profiles/README.md": "profiles",
}

project = "cnnpref"
author = copyright = "the cnnpref authors"
release = version = version_of("cnnpref")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"cnnpref {release}"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_copy_source = False

highlight_language = "text"  # of indented blocks: commands, fragments of configs
default_role = "code"  # a name in single backticks, as docstrings have it
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
napoleon_use_ivar = True

_LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def _lead_to_pages(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Links of an included README, which are relative to it, as links from `docs/`."""
    folder = PurePosixPath((app.confdir / path).resolve().relative_to(ROOT).parent)
    content[0] = _LINK.sub(lambda link: _led(folder, link), content[0])


def _led(folder: PurePosixPath, link: re.Match[str]) -> str:
    target = (ROOT / folder / link["target"]).resolve().relative_to(ROOT).as_posix()
    anchor = link["anchor"] or ""
    if target in PAGES:
        text = "" if "README.md" in link["text"] else link["text"]  # the page's title
        return f"[{text}]({PAGES[target]}.md{anchor})"
    place = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
    if (ROOT / target).is_dir():  # nothing that a page can show
        return link["text"]
    return f"[{link['text']}]({place}{anchor})"


def _escape(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings are plain text: *shape, |x| and dgn_ are no markup."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def setup(app: Sphinx) -> None:
    app.connect("include-read", _lead_to_pages)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before napoleon
