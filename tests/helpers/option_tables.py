"""The tables of options in config/README.md, made from the options themselves.

python tests/helpers/option_tables.py    # writes them anew
"""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import groupby
from typing import Any

from places import ROOT

from cnnpref.methods import METHODS, Method

README = ROOT / "config" / "README.md"
_MARKED = r"<!-- options: {name} -->\n.*?<!-- end -->"


def table(method: Method[Any]) -> str:
    """A line for each group of options that share a meaning: its defaults, and what presets say."""
    presets = list(method.presets)
    lines = [["options", "meaning", "method", *presets], ["---"] * (3 + len(presets))]
    for meaning, group in groupby(fields(method.options), lambda each: each.metadata["meaning"]):
        options = list(group)
        names = {option.name for option in options}
        lines.append(
            [
                ", ".join(f"`{option.name}`" for option in options),
                meaning,
                _values({option.name: option.default for option in options}, len(options)),
                *(
                    _values({n: v for n, v in chosen.items() if n in names}, len(options))
                    for chosen in method.presets.values()
                ),
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _values(values: dict[str, Any], count: int) -> str:
    """Of all `count` options of a line, one after the other; of some, with their names."""
    if len(values) == count:
        return ", ".join(text for text, _ in groupby(map(_value, values.values())))
    return ", ".join(f"`{name}` {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return "black" if value == (0, 0, 0) else str(list(value))
    return value if isinstance(value, str) else f"{value:g}"


def with_tables(text: str) -> str:
    """The README with its tables as they should be."""
    for name, method in METHODS.items():
        marked = f"<!-- options: {name} -->\n{table(method)}\n<!-- end -->"
        text = re.sub(_MARKED.format(name=name), lambda _, new=marked: new, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
