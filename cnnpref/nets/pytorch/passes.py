"""One pass of a PyTorch module, watched: what each of its layers gives, under its name.

Forward hooks see the modules, a TorchFunctionMode the functions and operators between them: what
`torch.fx` finds in code that it can trace, and the same in code that it cannot. While a mode
listens, `nn.TransformerEncoderLayer` does without its fused kernel, which bypasses what is inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from typing import Any

import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from cnnpref.nets.kernels import batch_norm, linear
from cnnpref.nets.pytorch.outputs import Pieces, pieces_of, rebuilt

Visit = Callable[[str, Tensor], Tensor]
"""Is told the name of each layer and its output, and says what the module goes on with."""

_REFLECTED = ("rsub", "rdiv", "rpow", "rfloordiv", "rmatmul")  # 1 - x, the name of x - 1


class Done(BaseException):
    """The pass has gone far enough; no error, and not for `except Exception` in a module."""


class AbsentError(Exception):
    """A value is needed that was not given."""


class Pass(TorchFunctionMode):
    """A run of a module.

    Layers are named by module path, a further call of a module `path_1`, `path_2` ...; the tensors
    of a module that gives several by `path.0`, `path.key`; a function that is called in the code of
    a module of one's own by path and function, `layer1.0.add`, in place or not.

    Args:
        module: what runs.
        input_name: of its input, which is visited first.
        visit: is told every layer, in the order of execution.
        names: if given, the only layers that must be told; it takes less time.

    Attributes:
        entered: the paths of the modules that ran.
        several: {name of a module's call: its layers}, of those that give several tensors.
    """

    def __init__(
        self,
        module: nn.Module,
        input_name: str,
        visit: Visit,
        names: Iterable[str] | None = None,
    ) -> None:
        self._module, self._input, self._visit = module, input_name, visit
        self._paths = {m: path for path, m in module.named_modules() if path}
        self._reserved = set(self._paths.values())
        self._parents = None if names is None else {_parent(name) for name in names}
        self._used: set[str] = set()
        self._stack = [module]
        self.entered: set[str] = set()
        self.several: dict[str, list[str]] = {}

    def run(self, images: Tensor) -> None:
        """Run until the end, or until a visit raises `Done`."""
        with undisturbed(self._module), _without_checkpoints(), self._hooks():
            try:
                images = self._visit(self._name(self._input, own=True), images)
                with self:
                    self._module(images)
            except Done:
                pass

    @property
    def place(self) -> str:
        """The path of the module that runs, or ran when an error occurred."""
        return self._paths.get(self._stack[-1], "")

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        handles = [m.register_forward_pre_hook(self._enter) for m in self._paths]
        handles += [m.register_forward_hook(self._leave) for m in self._paths]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, _args: Any) -> None:
        self._stack.append(module)
        self.entered.add(self._paths[module])

    def _leave(self, module: nn.Module, _args: Any, output: Any) -> Any:
        self._stack.pop()
        name = self._name(self._paths[module], own=True)
        return self._watched(name, output, self.several.setdefault(name, []))

    def _watched(self, name: str, output: Any, found: list[str]) -> Any:
        """What a module goes on with in place of an output, whose tensors are all visited."""
        if isinstance(output, Tensor):
            found.append(name)
            return self._visit(name, output)
        pieces = pieces_of(output)
        after: Pieces = {
            key: self._watched(self._name(f"{name}.{key}"), piece, found)
            for key, piece in pieces.items()
        }
        same = all(after[key] is piece for key, piece in pieces.items())
        return output if same else rebuilt(output, after)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        value = self._call(func, args, kwargs or {})
        if not isinstance(value, Tensor) or func.__name__ == "__get__" or self._is_internal():
            return value
        kind = func.__name__.strip("_")
        kind = kind[1:] if kind in _REFLECTED else kind
        return self._visit(self._name(f"{self.place}.{kind}".lstrip(".")), value)

    def _call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is F.linear:
            return linear(**linear_arguments(args, kwargs))
        if func is F.batch_norm:
            return batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _is_internal(self) -> bool:
        """Whether a function is no layer: in a module of PyTorch's own, or in none that counts."""
        if self._parents is not None and self.place not in self._parents:
            return True
        module = self._stack[-1]
        own = type(module).__module__.startswith(("torch.nn.", "torch.ao."))
        return own and not isinstance(module, nn.Sequential) and len(self._stack) > 1

    def _name(self, base: str, own: bool = False) -> str:
        """`base` if it is free, else with a number; paths of modules are free for these alone."""
        for name in chain([base], (f"{base}_{n}" for n in count(1))):
            if name not in self._used and (name not in self._reserved or (own and name == base)):
                break
        self._used.add(name)
        return name


class PartialPass(Pass):
    """A run that goes on with given values in place of layers' own.

    A given value is what a full pass leaves under the layer's name: what would change it in place
    does nothing. A value that is not known is a tensor on the device "meta", without content: it
    makes everything that depends on it unknown, and what it costs is nothing.

    Args:
        module, input_name, visit, names: as for Pass.
        given: the values that `visit` puts in the place of layers.
    """

    def __init__(
        self,
        module: nn.Module,
        input_name: str,
        visit: Visit,
        names: Iterable[str],
        given: Sequence[Tensor],
    ) -> None:
        super().__init__(module, input_name, visit, names)
        self._given = given

    def _call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func.__name__ == "__get__":
            return func(*args, **kwargs)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        unknown = any(t.is_meta for t in tensors)
        copies: list[tuple[Tensor, Tensor]] = []

        def copied(x: Any) -> Any:
            is_given = any(x is y for y in self._given)
            if not is_given and not (unknown and isinstance(x, Tensor) and not x.is_meta):
                return x
            copies.append((x, x.to("meta") if unknown else x.clone()))
            return copies[-1][1]

        value = super()._call(func, *tree_map(copied, (args, kwargs)))
        return self._undo(copies, value)

    def _undo(self, copies: Sequence[tuple[Tensor, Tensor]], value: Any) -> Any:
        """The value of a call, as if it had not changed in place what was given."""
        for original, copy in copies:
            if copy._version:
                if not any(original is x for x in self._given):
                    raise AbsentError
                value = original if value is copy else value
        return value


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def linear_arguments(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `F.linear` by the names that `kernels.linear` has for them."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    return {"x": given.pop("input"), **given}


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in eval mode and its parameters need no gradient; then as before."""
    modes = {m: m.training for m in module.modules()}
    learning = [p for p in module.parameters() if p.requires_grad]
    if any(modes.values()):
        module.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()
        for each, mode in modes.items():
            each.training = mode  # the module's own code may have changed it


class _Plain:
    """In place of a reentrant checkpoint: what it wraps, run as it is."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve_rng_state: bool, *args: Any) -> Any:
        return function(*args)


@contextmanager
def _without_checkpoints() -> Iterator[None]:
    """Inside, `checkpoint(..., use_reentrant=True)` keeps what it would compute again.

    PyTorch allows no gradient with respect to chosen inputs through it.
    """
    place: Any = torch.utils.checkpoint
    kept = place.CheckpointFunction
    place.CheckpointFunction = _Plain
    try:
        yield
    finally:
        place.CheckpointFunction = kept
