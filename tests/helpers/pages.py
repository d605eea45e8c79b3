"""Code blocks of Markdown pages, and what is done with them in a test.

A page is a session: its blocks work in one folder, in their order, and Python keeps its names.
A `yaml` block, or a `python` block, whose first line is a comment with a file's name is that file.
A comment `<!-- needs the internet -->` (a cluster, Caffe) before a block says that a test only
parses it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from calling import succeed
from places import ROOT

from cnnpref.cli import main

_BLOCK = re.compile(
    r"(?:<!-- needs (?P<needs>[\w ]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# (\S+\.(?:yaml|py))\n")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: as its fence says.
        code: what is in it.
        needs: what a test does not have, or "".
        file: the name of the file that it is, or "".
    """

    language: str
    code: str
    needs: str
    file: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page that have a language."""
    for found in _BLOCK.finditer(page.read_text()):
        name = _FILE.match(found["code"])
        yield Block(found["language"], found["code"], found["needs"] or "", name[1] if name else "")


class Session:
    """What has come of a page's blocks so far, in the working directory."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "page"}

    def run(self, block: Block) -> None:
        """Do what it says; or as much of it as can be done here."""
        if block.file:
            self._write(block)
        elif block.language == "python":
            code = compile(block.code, "block", "exec")
            if not block.needs:
                exec(code, self.names)
        elif block.language == "bash":
            subprocess.run(["bash", "-n", "-c", block.code], check=True)
            for line in block.code.replace("\\\n", " ").splitlines():
                command(shlex.split(line, comments=True), parse_only=bool(block.needs))
        else:
            raise AssertionError(f"a block of {block.language}: no test knows what to do with it")

    def _write(self, block: Block) -> None:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code)
        if block.language == "yaml":
            succeed("plan", "--quick", "--config", block.file)


def command(words: list[str], parse_only: bool) -> None:
    """One line of a shell: cnnpref in this process, Snakemake dry; not what installs and builds."""
    if words[:1] == ["cnnpref"]:
        parse(words[1:])
        if not parse_only:
            succeed(*words[1:])
    elif words[:1] == ["snakemake"] and "--configfile" in words:
        succeed("plan", "--quick", "--config", words[words.index("--configfile") + 1])
        if not parse_only:
            _run([sys.executable, "-m", *words, "-n", "-s", str(ROOT / "workflow" / "Snakefile")])
    elif words[:1] == ["python"] and not parse_only:
        _run([sys.executable, *words[1:]])


def parse(words: list[str]) -> None:
    """Whether the command line has that command and these options.

    Raises:
        click.UsageError: it has not.
    """
    name, *arguments = words
    if not {"-h", "--help", "--version"} & set(words):
        main.commands[name].make_context(name, arguments)


def _run(words: list[str]) -> None:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
