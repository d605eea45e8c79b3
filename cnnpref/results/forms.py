"""What datasets a group must have: a word for the kind of their values, and one for each axis.

`"f U 4"` are floats of shape (U, 4): of U rows, as many as everything else that has an axis U. An
axis `...` stands for any further ones; a name that ends in `?` may be missing. Kinds: f floats, i
whole numbers, u bytes, s texts, v arrays of bytes of any length.
"""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np

Form = Mapping[str, str]


def form_fault(group: h5py.Group, form: Form) -> str | None:
    """What a group lacks of a form, in a few words; None if that is nothing."""
    sizes: dict[str, int] = {}
    for name, wanted in form.items():
        data = group.get(name.removesuffix("?"))
        if data is None and name.endswith("?"):
            continue
        if not isinstance(data, h5py.Dataset):
            return f"no dataset {name}"
        kind, *axes = wanted.split()
        if data.shape is None or _kind(data.dtype, kind) != kind or not _fits(data, axes, sizes):
            return f"{name} is {data.shape} of {data.dtype}, not {wanted}"
    return None


def _kind(kind: np.dtype[np.generic], wanted: str) -> str:
    """The letter of a type; bytes are whole numbers, too."""
    if h5py.check_string_dtype(kind):
        return "s"
    if h5py.check_vlen_dtype(kind) == np.uint8:
        return "v"
    if kind == np.uint8 and wanted == "u":
        return "u"
    return {"u": "i"}.get(kind.kind, kind.kind)


def _fits(data: h5py.Dataset, axes: list[str], sizes: dict[str, int]) -> bool:
    """Whether the shape is that of the axes; learns the sizes of those not met before."""
    known = axes[: axes.index("...")] if "..." in axes else axes
    if data.ndim < len(known) or (known == axes and data.ndim > len(known)):
        return False
    return all(
        size == (int(axis) if axis.isdecimal() else sizes.setdefault(axis, size))
        for axis, size in zip(known, data.shape, strict=False)
    )
