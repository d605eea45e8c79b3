"""Reading a prototxt.

Of what forks of Caffe added and the schema does not have, each layer keeps a list: `unknown`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from google.protobuf import text_format

from cnnpref.errors import UserError, first_line
from cnnpref.foreign import read_file
from cnnpref.nets.caffe.files.schema import SCHEMA, TEST, Message, PathLike
from cnnpref.nets.caffe.files.text import Unknown, find_unknown, without
from cnnpref.nets.caffe.files.upgrade import upgrade

# Fields of forks that change no value that a layer gives: how it is computed, stored or trained.
_HARMLESS = {
    *("engine", "quantization_param", "net_quantization_param"),  # Intel, Ristretto
    *("backward_math", "backward_type", "forward_math", "forward_type"),  # NVIDIA
    *("cudnn_convolution_algo_seeker", "conv_algos_override", "cudnn_math_override"),
    *("default_backward_math", "default_backward_type", "default_conv_algos_override"),
    *("default_cudnn_math_override", "default_forward_math", "default_forward_type"),
    *("global_grad_scale", "global_grad_scale_adaptive", "reduce_buckets"),
    *("blobs_lr", "weight_decay", "compile_net_state", "mem_param", "reshape_every_iter"),
}
_HARMLESS_INSIDE = {
    "param",  # learning rates
    "quantization_param",
    "transform_param",  # what a data layer does to images before it gives them
}


def read_prototxt(path: PathLike) -> Message:
    """A prototxt as a NetParameter of new-format layers: those of phase TEST and of its `state`.

    Raises:
        UserError: the file is missing or is not a prototxt; names line and column.
    """
    try:
        net = _parse(read_bytes(path).decode("utf-8-sig", "replace"))
    except text_format.ParseError as error:
        raise UserError(f"{path}: not a readable prototxt: {first_line(error)}") from None
    except RecursionError:
        raise UserError(f"{path}: not a readable prototxt: nested too deeply") from None
    net.name = net.name or Path(path).stem
    upgrade(net)
    kept = [layer for layer in net.layer if _included(layer, net.state)]
    del net.layer[:]
    net.layer.extend(kept)
    return net


def _parse(text: str) -> Message:
    net, found = SCHEMA["NetParameter"](), None
    try:
        return text_format.Parse(text, net)
    except text_format.ParseError:
        with suppress(ValueError):
            found = find_unknown(text, net.DESCRIPTOR)
        if found is None:  # the error is worth telling, not the first unknown field
            text_format.Parse(text, SCHEMA["NetParameter"](), allow_unknown_field=True)
            raise
    skipped = [each for each in found if each.path[0] in ("layer", "layers") or _is_harmless(each)]
    net = text_format.Parse(without(text, skipped), SCHEMA["NetParameter"]())
    for each in skipped:
        if not _is_harmless(each):
            layers = net.layer if each.path[0] == "layer" else net.layers
            layers[each.place].unknown.append(f"{each} (line {each.line})")
    return net


def _is_harmless(unknown: Unknown) -> bool:
    *above, name = unknown.path
    inside = any(part in _HARMLESS_INSIDE or part.endswith("_filler") for part in above)
    return name in _HARMLESS or inside


def read_bytes(path: PathLike) -> bytes:
    """The content of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return read_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _included(layer: Message, state: Message) -> bool:
    """Caffe's rules of what is there in phase TEST: rules are ORed, their fields ANDed."""
    if layer.include:
        return any(_met(rule, state) for rule in layer.include)
    return not any(_met(rule, state) for rule in layer.exclude)


def _met(rule: Message, state: Message) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )
