"""How the axes of an ATen operation's output depend on those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cnnpref.geometry import Mask, Reach, Same, Span, Table, Transposed, Whole, Window

Dims = dict[int, tuple[int, Reach]]
"""{axis of the output: (axis of the input, how the one depends on the other)}.

What is at index i of the output's axis depends on nothing but those indices of the input's axis; an
axis that is not there may depend on all of every axis of the input.
"""
SAME = Same()


class Call:
    """An ATen operation with its arguments.

    Attributes:
        func: the operation.
        name: without overload, `convolution`.
        values: {argument: value}, defaults included.
        tensors: those among the arguments, in their order.
        shapes: of these, before the call.
        written: those that the call changes.
    """

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.name: str = func._schema.name.partition("::")[2]
        schema = func._schema.arguments
        given = {a.name: value for a, value in zip(schema, args, strict=False)} | kwargs
        self.values: dict[str, Any] = {a.name: given.get(a.name, a.default_value) for a in schema}
        self.tensors = [t for t in tree_leaves(self.values) if isinstance(t, Tensor)]
        self.shapes = [tuple(t.shape) for t in self.tensors]
        changed = [self.values[a.name] for a in schema if a.alias_info and a.alias_info.is_write]
        self.written = [t for t in tree_leaves(changed) if isinstance(t, Tensor)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first tensor."""
        return self.shapes[0]

    def axes(self, argument: str = "dim") -> list[int]:
        """Axes of the first tensor that an argument names, counted from 0; none if it is None."""
        given = self.values[argument]
        axes = given if isinstance(given, Sequence) else [] if given is None else [given]
        return [axis % max(len(self.shape), 1) for axis in axes]


Rule = Callable[[Call, Tensor], list[Dims]]
"""What one of a call's outputs is to the call's tensors, in their order, as far as it is known."""

_RULES: dict[str, Rule] = {}


def dims_of(call: Call, output: Tensor) -> list[Dims]:
    """How the axes of an output depend on the call's tensors; what is missing is not known."""
    rule = _pointwise if torch.Tag.pointwise in call.func.tags else _RULES.get(call.name)
    found = rule(call, output) if rule else []
    return [dims if max(dims, default=-1) < output.ndim else {} for dims in found]


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _kept(axes: Sequence[int], without: Sequence[int] = ()) -> Dims:
    return {axis: (axis, SAME) for axis in axes if axis not in without}


def _all_but(call: Call, axes: Sequence[int]) -> list[Dims]:
    """Each index of an axis depends on the same of the first tensor; some axes on all of it."""
    return [_kept(range(len(call.shape))) | {axis: (axis, Whole()) for axis in axes}]


@_rule("_to_copy", "detach", "alias", "lift_fresh", "copy_", "hardswish", "hardswish_")
@_rule("native_dropout", "_prelu_kernel", "expand")
def _pointwise(call: Call, output: Tensor) -> list[Dims]:
    """Axes are aligned at the last; one of size 1 is repeated."""

    def aligned(shape: Sequence[int]) -> Dims:
        ahead = output.ndim - len(shape)
        same = (a for a, size in enumerate(shape) if size == output.shape[a + ahead])
        return {a + ahead: (a, SAME) for a in same}

    return [aligned(shape) if len(shape) <= output.ndim else {} for shape in call.shapes]


@_rule("convolution")
def _convolution(call: Call, _output: Tensor) -> list[Dims]:
    kernel = call.shapes[1][2:]
    settings = [_spread(call.values[k], len(kernel)) for k in ("stride", "padding", "dilation")]
    windows: list[Reach] = [Window(*each) for each in zip(kernel, *settings, strict=True)]
    if call.values["transposed"]:
        windows = [Transposed(window) for window in windows if isinstance(window, Window)]
    return [{0: (0, SAME)} | {a: (a, window) for a, window in enumerate(windows, 2)}]


@_rule("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d")
def _pooling(call: Call, _output: Tensor) -> list[Dims]:
    kernel = call.values["kernel_size"]
    first = len(call.shape) - int(call.name[8])
    stride = call.values["stride"] or kernel
    settings = (kernel, stride, call.values["padding"], call.values.get("dilation", 1))
    windows = zip(*(_spread(each, len(call.shape) - first) for each in settings), strict=True)
    return [_kept(range(first)) | {a: (a, Window(*w)) for a, w in enumerate(windows, first)}]


def _spread(given: Any, count: int) -> list[int]:
    values = [given] if isinstance(given, int) else list(given)
    return values * count if len(values) == 1 else values


@_rule("_adaptive_avg_pool2d", "adaptive_max_pool2d", "reflection_pad2d", "replication_pad2d")
@_rule("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d")
@_rule("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")
def _resampling(call: Call, _output: Tensor) -> list[Dims]:
    """Every channel alike, row by row and column by column: the operation itself tells how."""
    if len(call.shape) != 4:
        return []
    return [_kept((0, 1)) | {axis: (axis, Probed(call, axis)) for axis in (2, 3)}]


@dataclass(frozen=True, eq=False)
class Probed:
    """What each row or column of a resampled map depends on; the call is tried when needed."""

    call: Call
    axis: int

    @cached_property
    def table(self) -> Table:
        return Table(_probe(self.call, self.axis))

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return self.table.inputs_of(mask, inputs)

    def span(self, first: int, last: int) -> Span | None:
        return None


def _probe(call: Call, axis: int) -> Mask:
    """Where an image with a single row (or column) of ones has other values than 0."""
    size, other = call.shape[axis], 5 - axis
    found = []
    for ones in torch.eye(size, device=call.tensors[0].device).split(8):
        lines = ones[:, None].unsqueeze(other)
        shape = [size, size]
        shape[other - 2] = call.shape[other]
        result = call.func(lines.expand(-1, -1, *shape).contiguous(), *call.args[1:], **call.kwargs)
        found.append((tree_leaves(result)[0] != 0).any(other).flatten(1).cpu().numpy())
    return np.concatenate(found).T


@_rule("pixel_shuffle", "pixel_unshuffle")
def _shuffling(call: Call, _output: Tensor) -> list[Dims]:
    shuffled = call.name == "pixel_shuffle"
    factor = call.values["upscale_factor" if shuffled else "downscale_factor"]
    window: Reach = Window(factor, factor)
    reach = Transposed(Window(factor, factor)) if shuffled else window
    last = len(call.shape) - 2
    return [_kept(range(last - 1)) | {a: (a, reach) for a in (last, last + 1)}]


@_rule("constant_pad_nd")
def _padding(call: Call, _output: Tensor) -> list[Dims]:
    before = call.values["pad"][::2]  # from the last axis on
    last = len(call.shape) - 1
    return [_kept(range(last + 1)) | {last - n: (last - n, Same(-b)) for n, b in enumerate(before)}]


@_rule("roll", "flip")
def _turning(call: Call, _output: Tensor) -> list[Dims]:
    axes = call.axes("dims")
    shifts = call.values.get("shifts", [None] * len(axes))
    turned: Dims = {}
    for axis, shift in zip(axes, shifts, strict=False):
        index = np.arange(call.shape[axis])
        taken = index[::-1] if shift is None else np.roll(index, shift)
        turned[axis] = (axis, Table(np.eye(len(index), dtype=bool)[taken]))
    return [_kept(range(len(call.shape))) | turned] if len(turned) == len(shifts) else []


@_rule("slice")
def _slice(call: Call, _output: Tensor) -> list[Dims]:
    (axis,), size = call.axes(), call.shape[call.axes()[0]]
    start, stop = call.values["start"], call.values["end"]
    index = range(size)[start : stop : call.values["step"]]
    return [_kept(range(len(call.shape))) | {axis: (axis, Window(1, index.step, -index.start))}]


@_rule("split", "split_with_sizes", "unsafe_split", "chunk", "select", "unbind")
@_rule("_softmax", "_log_softmax", "glu", "cumsum", "cumprod", "logcumsumexp")
def _without_one(call: Call, output: Tensor) -> list[Dims]:
    """What becomes of the named axis is not followed: branches are cut along channels."""
    cut = call.axes()
    return _dropped(call, cut) if output.ndim < len(call.shape) else _all_but(call, cut)


def _dropped(call: Call, axes: Sequence[int]) -> list[Dims]:
    """Without some axes, the others as they are."""
    left = [axis for axis in range(len(call.shape)) if axis not in axes]
    return [{to: (axis, SAME) for to, axis in enumerate(left)}]


@_rule("mean", "sum", "prod", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean")
@_rule("linalg_vector_norm", "norm", "logsumexp")
def _reduction(call: Call, _output: Tensor) -> list[Dims]:
    axes = call.axes() if "dim" in call.values else []
    if not axes:
        return []
    return _all_but(call, axes) if call.values["keepdim"] else _dropped(call, axes)


@_rule("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_with_update")
@_rule("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update")
def _batch_norm(call: Call, output: Tensor) -> list[Dims]:
    still = call.name.endswith(("no_training", "no_update"))
    training = not still and call.values.get("training", call.values.get("train", True))
    if output.ndim != len(call.shape):
        return []  # a mean or a deviation
    axes = [axis for axis in range(len(call.shape)) if axis != 1]
    return _all_but(call, axes if training else ())


@_rule("native_group_norm")
def _group_norm(call: Call, output: Tensor) -> list[Dims]:
    values = output.ndim == len(call.shape)  # else a mean or a deviation
    return _all_but(call, range(1, output.ndim)) if values else []


@_rule("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(call: Call, _output: Tensor) -> list[Dims]:
    return _all_but(call, (1,))


@_rule("native_layer_norm", "_fused_rms_norm")
def _layer_norm(call: Call, _output: Tensor) -> list[Dims]:
    count = len(call.shape)
    return _all_but(call, range(count - len(call.values["normalized_shape"]), count))


@_rule("view", "_unsafe_view", "_reshape_alias", "squeeze", "unsqueeze")
def _view(call: Call, output: Tensor) -> list[Dims]:
    """An axis is kept where one of its size has as many elements before it, and so behind it."""
    before, after = call.shape, tuple(output.shape)
    ends = [(prod(before[:axis]), size) for axis, size in enumerate(before)]
    places = {(prod(after[:axis]), size): axis for axis, size in enumerate(after)}
    return [{places[end]: (axis, SAME) for axis, end in enumerate(ends) if end in places}]


@_rule("permute", "transpose", "t")
def _permutation(call: Call, _output: Tensor) -> list[Dims]:
    order = list(range(len(call.shape)))
    if call.name == "permute":
        order = call.axes("dims")
    else:
        both = call.axes("dim0") + call.axes("dim1") if call.name == "transpose" else order[:2]
        for one, other in zip(both, both[::-1], strict=True):
            order[one] = other
    return [{to: (axis, SAME) for to, axis in enumerate(order)}]


@_rule("cat")
def _concatenation(call: Call, output: Tensor) -> list[Dims]:
    axis, dims, start = call.values["dim"] % output.ndim, list[Dims](), 0
    for shape in call.shapes:
        whole = len(shape) == output.ndim  # and not an empty tensor of old, (0,)
        dims.append(_kept(range(len(shape))) | {axis: (axis, Same(-start))} if whole else {})
        start += shape[axis] if whole else 0
    return dims


@_rule("stack")
def _stacking(call: Call, output: Tensor) -> list[Dims]:
    new = call.values["dim"] % output.ndim
    return [{a + (a >= new): (a, SAME) for a in range(len(shape))} for shape in call.shapes]


@_rule("mm", "bmm", "addmm")
def _product(call: Call, output: Tensor) -> list[Dims]:
    last = output.ndim - 1
    left, right = _kept(range(last)), _kept(range(last + 1), without=[last - 1])
    return [{}, left, right] if call.name == "addmm" else [left, right]
