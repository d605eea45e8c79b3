"""Options of methods, each declared once: default, type, range, meaning.

An option is a field of its method's dataclass, made by `option`. What checks a value, the schema of
the config and the tables of config/README.md read the field's metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np

from cnnpref.errors import UserError, suggest

_EXPONENT = r"[+-]?\d+[eE][+-]?\d+"  # YAML takes 1e-10 for text: it has no point


class Kind(Protocol):
    """What values an option can have."""

    @property
    def allowed(self) -> str:
        """In words."""

    def convert(self, value: Any) -> Any:
        """The value as the option's type.

        Raises:
            ValueError: it is not allowed.
        """

    def schema(self) -> dict[str, Any]:
        """As JSON schema."""


@dataclass(frozen=True)
class Number:
    """A real number from `low` to `high`."""

    low: float = -1e30
    high: float = 1e30

    @property
    def allowed(self) -> str:
        return f"a number in {self.low:g}..{self.high:g}"

    def convert(self, value: Any) -> float:
        if isinstance(value, str) and re.fullmatch(_EXPONENT, value):
            value = float(value)
        _require(_is_number(value, self.low, self.high))
        return float(value)

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{_EXPONENT}$"}]}


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `low`."""

    low: int = 1
    high: int = 1_000_000_000

    @property
    def allowed(self) -> str:
        return f"an integer in {self.low}..{self.high}"

    def convert(self, value: Any) -> int:
        _require(_is_number(value, self.low, self.high) and value == int(value))
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Switch:
    """True or false."""

    allowed = "true or false"

    def convert(self, value: Any) -> bool:
        _require(isinstance(value, bool))
        return bool(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(self.words)

    def convert(self, value: Any) -> str:
        _require(value in self.words)
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ByField:
    """A number; or None: what suits the size of what a unit sees."""

    number: Number

    @property
    def allowed(self) -> str:
        return f"null (by the field's size) or {self.number.allowed}"

    def convert(self, value: Any) -> float | None:
        return None if value is None else self.number.convert(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "null"}, self.number.schema()]}


@dataclass(frozen=True)
class Colour:
    """Red, green and blue, 0..255; or None."""

    allowed = "null or three numbers in 0..255 (red, green, blue)"

    def convert(self, value: Any) -> tuple[float, float, float] | None:
        if value is None:
            return None
        _require(isinstance(value, Sequence) and len(value) == 3)
        _require(all(_is_number(v, 0, 255) for v in value))
        red, green, blue = (float(v) for v in value)
        return red, green, blue

    def schema(self) -> dict[str, Any]:
        channel = {"type": "number", "minimum": 0, "maximum": 255}
        return {"type": ["array", "null"], "minItems": 3, "maxItems": 3, "items": channel}


# Each one more is a number in every unit's trace, which is there from the start.
COUNT = Whole(1, 1_000_000)  # of iterations
PRECISION = Choice(("float32", "tf32", "bf16"))
PRECISION_MEANING = (
    "of the net's products: `float32`; `tf32`: GPUs that can, round the factors to 10 bits; `bf16`:"
    " to 8 bits, and values between layers, too, on CPUs with AVX-512 bf16 or AMX and on GPUs from"
    " Ampere on: there a pass takes half the time, and other devices refuse it"
)
NUMBER, SHARE, PERCENT, SWITCH = Number(), Number(0, 1), Number(0, 100), Switch()


def _is_number(value: Any, low: float, high: float) -> bool:
    kinds = int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(low <= value <= high)


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def option(default: Any, kind: Kind, meaning: str, neutral: Any = MISSING) -> Any:
    """A field of an options class.

    Args:
        default: of the method, where neither preset nor user say otherwise.
        kind: what values it can have.
        meaning: for the tables of config/README.md; fields in a row with the same one share a line.
        neutral: of an option that came later than the results people have: the value at which all
            is as it was before. There the option is left out of the digest, so that these results
            keep their names.
    """
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "neutral": neutral})


def changed(kind: type[Options], name: str, default: Any) -> Any:
    """A field of an options class that it inherits, with another default."""
    (inherited,) = (each for each in fields(kind) if each.name == name)
    return field(default=default, metadata=inherited.metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every method has."""

    feature_weight: float = option(1.0, NUMBER, "what the unit's activation is multiplied with")
    retries: int = option(
        3, Whole(0), "how often a unit without gradient, or a stuck one, starts anew, at random"
    )
    revive: str = option(
        "all",
        Choice(("dead", "all")),
        "which units start anew: `dead`, those without gradient; or `all`: stuck ones, too, and"
        " where random values have no gradient either, it is let through ReLUs that are shut until"
        " they have one",
        neutral="dead",
    )


ONE_START: dict[str, Any] = {"retries": 0, "revive": "dead"}
"""Of `Options`: a unit stays where its only start led, as with the original."""


def keyed(options: Options) -> dict[str, Any]:
    """The options that name results: all but those at their neutral value."""
    neutral = {each.name: each.metadata["neutral"] for each in fields(options)}
    return {name: value for name, value in asdict(options).items() if value != neutral[name]}


def checked(method: str, kind: type[Options], given: Mapping[str, Any]) -> dict[str, Any]:
    """Some options, each as its own type.

    Args:
        method: its name, for messages.
        kind: the class of its options.
        given: options by name.

    Raises:
        UserError: an unknown option, or a value that it cannot have.
    """
    kinds: dict[str, Kind] = {each.name: each.metadata["kind"] for each in fields(kind)}
    values = {}
    for name, value in given.items():
        require_known(f"option of method {method!r}:", name, kinds)
        try:
            values[name] = kinds[name].convert(value)
        except ValueError:
            raise UserError(
                f"option {method}.{name}: got {value!r}, allowed is {kinds[name].allowed}"
            ) from None
    return values


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Let only known names pass.

    Raises:
        UserError: the name is not among them.
    """
    if name not in known:
        raise UserError(
            f"unknown {what} {name!r}{suggest(name, known)}; known are: {', '.join(known)}"
        )


def schema(kind: type[Options]) -> dict[str, Any]:
    """The JSON schema of a mapping from options to values."""
    return {
        "description": "a mapping from options to values, such as {feature_weight: 1}",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            each.name: {
                **each.metadata["kind"].schema(),
                "description": each.metadata["kind"].allowed,
            }
            for each in fields(kind)
        },
    }
