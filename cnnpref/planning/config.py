"""The config: read, checked against the schema, completed with its defaults."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from cnnpref.errors import UserError, first_line, suggest
from cnnpref.foreign import read_file
from cnnpref.methods import options_schema

Config = dict[str, Any]
MOST_VALUES = 1_000_000  # of a config

PATH_KEYS = (
    "prototxt",
    "caffemodel",
    "weights",
    "mean",
    "lower",
    "upper",
)  # of `net` and `generator`
BLOB_KEYS = ("input", "output")  # of the section `generator`
DEFAULTS: Config = {
    "results": "results",
    "methods": ["spectral"],
    "batch": "auto",
    "speed": 1,
    "seed": 0,
    "seeds": 1,
    "options": {},
    "sheets": {},
    "keep_frames": 0,
    "evaluate": [],
}
REFERENCES: Config = {"top": 9, "store": "crops", "resize": None, "shard": 500}


def read_config(source: str) -> Config:
    """The config in a YAML file, or in `source` itself when that is a JSON object.

    Raises:
        UserError: the file cannot be read, is not YAML, or is no valid config.
    """
    if source.lstrip().startswith("{"):
        return resolve_config(_parse(source, "--config"), "inline")
    path = Path(source)
    try:
        text = read_file(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the config {path}: {error}") from None
    return resolve_config(_parse(text, source), path.stem)


def resolve_config(raw: Mapping[str, Any], name: str) -> Config:
    """A checked copy of `raw` with defaults filled in and `${VARIABLES}` and `~` in paths expanded.

    Args:
        raw: what a YAML or JSON file held.
        name: the run's name unless the config gives one, with '_' for spaces and the like.

    Raises:
        UserError: a key is unknown or missing, a value is not allowed, or a variable is not set.
    """
    config = {"run": _run_name(name), **DEFAULTS, **_plain(raw)}
    _check(config)
    if "methods" not in raw:
        _require_default_methods(config)
    for key in ("batch", "seed", "seeds", "keep_frames"):
        config[key] = _whole(config[key])
    config["results"] = _expand("results", config["results"])
    _expand_labels("", config)
    for layer, settings in ({} if config["layers"] == "all" else config["layers"]).items():
        _expand_labels(f"layers.{layer}.", settings or {})
    if Path(config["results"]).is_file():
        raise UserError(f"config: results: {config['results']!r} is a file; name a folder")
    for name in ("net", "generator", "judge"):
        if name in config:
            config[name] = _expand_net(name, config[name])
    nets = enumerate(config["evaluate"])
    config["evaluate"] = [_expand_net(f"evaluate.{number}", net) for number, net in nets]
    if "judge" in config:
        _expand_labels("judge.", config["judge"])
    if "references" in config:
        config["references"] = _references(config["references"])
    return config


def _plain(raw: Mapping[str, Any]) -> Config:
    """A copy as JSON has it, with texts as keys: YAML reads the layer name 1 as a number."""
    try:
        if any(count > MOST_VALUES for count, _ in enumerate(_values(raw))):
            raise UserError(
                f"config: more than {MOST_VALUES:,} values; aliases (&, *) that hold aliases"
                " multiply: write them out"
            )
        copied: Config = json.loads(json.dumps(raw, default=str))
    except (RecursionError, TypeError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise UserError(f"config: {reason}; a config holds texts, numbers and lists") from None
    return copied


def _values(value: Any) -> Iterator[Any]:
    """All that a nested value holds, as often as it would be written."""
    yield value
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(inner, Iterable) and not isinstance(inner, str | bytes):
        for each in inner:
            yield from _values(each)


def _expand_net(place: str, section: Config) -> Config:
    """The section of a net, with its paths expanded."""
    paths = {key: value for key, value in section.items() if _is_path(key, value)}
    return {**section, **{key: _expand(f"{place}.{key}", path) for key, path in paths.items()}}


def _expand_labels(place: str, section: Config) -> None:
    """Where labels are the path of a file."""
    if isinstance(section.get("labels"), str):
        section["labels"] = _expand(f"{place}labels", section["labels"])


def _require_default_methods(config: Config) -> None:
    """Raise UserError if there are options of other methods than those that nobody chose."""
    layers = {} if config["layers"] == "all" else config["layers"]
    for section in (config, *(settings or {} for settings in layers.values())):
        for method in section.get("options", {}):
            if method not in config["methods"]:
                raise UserError(
                    f"config: options of {method}, but the key 'methods' is missing, and by default"
                    f" it is {config['methods']}; write 'methods: [{method}]', or leave them out"
                )


def _references(given: Any) -> Config:
    """The section with its defaults; a place alone stands for it."""
    section = given if isinstance(given, dict) else {"images": given}
    places = section["images"] if isinstance(section["images"], list) else [section["images"]]
    images = [_expand("references.images", place) for place in places]
    numbers = {key: _whole(section[key]) for key in ("top", "resize", "shard") if key in section}
    return {**REFERENCES, **section, **numbers, "images": images}


def _whole(value: Any) -> Any:
    """Whole numbers as Python has them: 64.0 is one, too, for a schema."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) else value


def _run_name(name: str) -> str:
    """The name of a run whose file has that name: letters, digits, '_', '-' and '.' stay."""
    return re.sub(r"[^\w.-]|^\W", "_", name)


def _is_path(key: str, value: object) -> bool:
    return isinstance(value, str) and key in PATH_KEYS


def _parse(text: str, where: str) -> Config:
    try:
        raw = yaml.safe_load(text)
    except RecursionError:
        raise UserError(f"{where} is not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
        # the others come from values such as !!bool maybe, or of 5000 digits
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{where}: a config is a mapping of keys to values, got {_show(raw)}")
    return raw


@cache
def _written_schema() -> dict[str, Any]:
    text = resources.files("cnnpref.planning").joinpath("config.schema.yaml").read_text("utf-8")
    schema: dict[str, Any] = yaml.safe_load(text)
    return schema


def config_schema() -> dict[str, Any]:
    """The JSON schema of a config, with the options of every method."""
    schema = _written_schema()
    return {**schema, "$defs": {**schema["$defs"], "options": options_schema()}}


def _check(config: Config) -> None:
    errors = sorted(Draft202012Validator(config_schema()).iter_errors(config), key=_urgency)
    if errors:
        raise UserError(_explain(errors[0]))


def _urgency(error: ValidationError) -> tuple[bool, int]:
    """Unknown keys first: a misspelt key is also a missing one."""
    return error.validator != "additionalProperties", len(error.absolute_path)


def _explain(error: ValidationError) -> str:
    value: Any = error.instance
    schema: Any = error.schema
    key = ".".join(str(part) for part in error.absolute_path)
    place = f" in {key}" if key else ""
    if error.validator == "additionalProperties":
        return _unknown_key(value, schema["properties"], place)
    if error.validator == "required":
        missing = next(name for name in schema["required"] if name not in value)
        return f"config: the key {missing!r}{place} is missing"
    return f"config: {key}: got {_show(value)}; allowed: {schema['description']}"


def _unknown_key(section: Iterable[str], allowed: Iterable[str], place: str) -> str:
    unknown = next(key for key in section if key not in allowed)
    return (
        f"config: unknown key {unknown!r}{place}{suggest(unknown, allowed)};"
        f" allowed: {', '.join(allowed)}"
    )


def _show(value: object) -> str:
    return reprlib.repr(value)


def _expand(key: str, path: str) -> str:
    try:
        expanded = Template(path).substitute(os.environ)
        return os.path.expanduser(expanded)  # noqa: PTH111 - Path's raises for unknown users
    except KeyError as error:
        raise UserError(
            f"config: {key}: the environment variable {error.args[0]} is not set (in {path!r});"
            " set it, or write the path into the config"
        ) from None
    except ValueError:
        raise UserError(f"config: {key}: got {path!r}; a '$' itself is written '$$'") from None
