"""What a method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from cnnpref.methods.options import Options

if TYPE_CHECKING:  # methods are planned without PyTorch
    import numpy.typing as npt

    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.problem import Optimum

O = TypeVar("O", bound=Options)  # noqa: E741


class Method(ABC, Generic[O]):
    """A way to find the images that units prefer: its options, what it takes, how it goes.

    All that is particular to a method stands in its class; whatever plans, runs or shows results
    asks here. An object of it is put into `registry.METHODS`.

    Attributes:
        name: in configs, keys and file names: lower-case letters, digits and '_'.
        options: the class of its options.
        presets: {preset: {option: value}}; those of `default_preset` at least.
        needs_generator: it searches among the images of a generator.
        uses_statistics: it draws on what natural images are like; of the user's own, if given.
        shows_update: an observer sees the image after an iteration's update, not the one that was
            evaluated.
        is_stretched: sheets stretch the contrast of its images, which leave 0..255 or fill little
            of it.
        bytes_per_variable: what a unit takes in memory for each number that varies, without the
            passes of the net.
        operations_per_variable: what a step takes for each of them, in floating point operations.
    """

    name: ClassVar[str]
    options: type[O]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    needs_generator: ClassVar[bool] = False
    uses_statistics: ClassVar[bool] = False
    shows_update: ClassVar[bool] = False
    is_stretched: ClassVar[bool] = False
    bytes_per_variable: ClassVar[int]
    operations_per_variable: ClassVar[int]

    @abstractmethod
    def iterations(self, options: O) -> int:
        """How many there are at most."""

    @abstractmethod
    def shortened(self, options: O, iterations: int) -> O:
        """The same with fewer iterations and no second start, to be timed."""

    def evaluations(self, options: O) -> int:
        """How often the net is evaluated, at most or about."""
        return self.iterations(options)

    def passes(self, options: O) -> int:
        """How many images the net sees in an evaluation of a unit."""
        return 1

    def length(self, options: O) -> int | None:
        """How often the net is evaluated, unless a unit stops early; None: nobody knows."""
        return self.iterations(options)

    def precision(self, options: O) -> str:
        """Of the net's products, where the device has a choice."""
        return "float32"

    def initial(self, options: O) -> npt.ArrayLike | None:
        """The image to start from, where the user gives none; None: the variables' own noise."""
        return None

    @abstractmethod
    def variables(self, options: O, scene: Scene) -> Variables:
        """What varies, and how the net's input is made of it."""

    @abstractmethod
    def optimise(self, options: O, task: Task) -> Optimum:
        """Maximise a batch of targets; each row goes its own way."""

    def default_preset(self, shape: Sequence[int], position: str | int | Sequence[int]) -> str:
        """The preset for a target: "lower" for one position of a map, "higher" for anything else.

        Args:
            shape: of the layer, units first: (C, H, W), (C, T, H, W), (C,), or (D, T) for tokens,
                which mostly see the whole image.
            position: the unit's: "center", (y, x), or "all" = the sum over the map.
        """
        single = len(shape) > 2 and prod(shape[1:]) > 1 and position != "all"
        return "lower" if single else "higher"
