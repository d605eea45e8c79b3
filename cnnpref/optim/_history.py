"""What the solver remembers of each row: the quasi-Newton matrix of its last steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from cnnpref.optim._ragged import close_gaps, find, parts, sent

PAIRS = 10  # kept of each row


class History:
    """The last steps s and gradient changes y of B rows: B = theta I - W M W', (N, N) for each.

    W = [Y, theta S], and M^-1 = [[-D, L'], [L, theta S'S]] of D the diagonal and L what is below
    the diagonal of S'Y (Byrd, Nocedal and Schnabel 1994). Each pair is divided by the root of its
    s'y: this leaves B as it is, makes D = I, and all numbers of M alike in size. The inner products
    of all pairs are kept, so that an iteration reads every pair twice.

    N must be a multiple of 16: a row's sums then come out the same in any batch, to the bit.

    Attributes:
        theta: the scale of the curvature, (B,).
        length: how many pairs have been taken down, (B,).
        free: 1 for the variables that `free_gram` is about, else 0, (B, N).
    """

    def __init__(self, rows: int, size: int, device: torch.device) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._pairs = zeros(rows, 2 * PAIRS, size)  # Y, then S
        self._gram = zeros(rows, 2 * PAIRS, 2 * PAIRS)
        self._free_gram = torch.zeros_like(self._gram)
        self._newest = zeros(rows, 5, size)  # y, s, both where free, a vector
        self._is_new = torch.zeros(rows, dtype=torch.bool, device=device)
        self._age = torch.full((rows, PAIRS), -1, device=device)  # of each place; -1 is empty
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.theta, self.free = zeros(rows) + 1, zeros(rows, size) + 1

    @property
    def free_gram(self) -> Tensor:
        """W'W over the free variables alone, (B, 2m, 2m)."""
        scale = self._scale()
        return scale[:, :, None] * self._free_gram * scale[:, None]

    def middle(self) -> Tensor:
        """M^-1, (B, 2m, 2m); 1 on the diagonal of empty places, where W is 0."""
        older = self._age[:, :, None] > self._age[:, None]
        below = self._gram[:, PAIRS:, :PAIRS] * older
        steps = self.theta[:, None, None] * self._gram[:, PAIRS:, PAIRS:]
        empty = torch.diag_embed((self._age < 0).double())
        ones = torch.eye(PAIRS, dtype=torch.float64, device=below.device).expand_as(below)
        upper, lower = torch.cat([-ones, below.mT], 2), torch.cat([below, steps + empty], 2)
        return torch.cat([upper, lower], 1)

    def append(self, rows: Sequence[int], s: Tensor, y: Tensor, curvature: Sequence[float]) -> None:
        """Take down a pair of some rows; `product` completes it.

        Args:
            rows: places in the batch.
            s: of all rows, (B, N).
            y: the same.
            curvature: s'y of those rows, positive.
        """
        at, root = sent(rows, self.length.device), torch.ones_like(self.theta)
        root[at] = sent(curvature, root.device, root.dtype).rsqrt()
        for column, (values, first) in enumerate(((y, 0), (s, PAIRS))):
            torch.mul(values, root[:, None], out=self._newest[:, column])
            self._pairs[at, self.length[at] % PAIRS + first] = self._newest[at, column]
        self._age[at, self.length[at] % PAIRS] = self.length[at]
        self.length[at] += 1
        self._is_new[at] = True

    def product(self, vectors: Tensor) -> Tensor:
        """W' times a vector of each row (B, N), (B, 2m); takes in new pairs on the way."""
        new = self._newest
        torch.mul(new[:, :2], self.free[:, None], out=new[:, 2:4])
        new[:, 4] = vectors
        products = torch.bmm(self._pairs, new.mT)
        at = torch.arange(len(vectors), device=vectors.device)
        place, is_new = (self.length - 1) % PAIRS, self._is_new[:, None]
        for gram, first in ((self._gram, 0), (self._free_gram, 2)):
            for column, where in ((first, place), (first + 1, place + PAIRS)):
                known = torch.where(is_new, products[:, :, column], gram[at, where])
                gram[at, :, where] = gram[at, where] = known
        self.theta = torch.where(self._is_new, self._gram[at, place, place], self.theta)
        self._is_new[:] = False
        return products[:, :, 4] * self._scale()

    def set_free(self, free: Tensor, room: int | None = None) -> Tensor:
        """Let `free_gram` be about these variables, (B, N), 1 for each and else 0.

        Args:
            free: what is free now.
            room: see `find`; where there was too little, take `restore` with what `freedom` was.

        Returns:
            Which variables have changed, (B, N).
        """
        changed = (free != self.free) & (self.length > 0)[:, None]
        places, valid = find(changed, room)
        gram = self._free_gram.clone()
        for part in parts(places):
            sign = valid[:, part] * (2 * free.gather(1, places[:, part]) - 1)
            pairs = self._columns(places[:, part])
            gram += torch.bmm(pairs * sign[:, None], pairs.mT)
        self.free, self._free_gram = free, gram
        return changed

    @property
    def freedom(self) -> tuple[Tensor, Tensor]:
        """What `set_free` changes."""
        return self.free, self._free_gram

    def restore(self, freedom: tuple[Tensor, Tensor]) -> None:
        """Take back what `set_free` has changed."""
        self.free, self._free_gram = freedom

    def columns(self, places: Tensor) -> Tensor:
        """Some rows of W, (B, 2m, K), by their places (B, K)."""
        return self._columns(places) * self._scale()[:, :, None]

    def combine(self, weights: Tensor) -> Tensor:
        """W times weights (B, 2m), (B, N)."""
        return torch.bmm((weights * self._scale())[:, None], self._pairs)[:, 0]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop all pairs of some rows."""
        if rows:
            at = sent(rows, self.length.device)
            for tensor in (self._pairs, self._gram, self._free_gram, self.length):
                tensor[at] = 0
            self._age[at] = -1
            self.theta[at] = self.free[at] = 1

    def close_gaps(self, gone: Sequence[int]) -> None:
        """Let the last rows take the places of those that are gone."""
        for name, tensor in vars(self).items():
            setattr(self, name, close_gaps(tensor, gone))

    def _scale(self) -> Tensor:
        """1 for the places of Y and theta for those of S, (B, 2m)."""
        ones = torch.ones_like(self.theta)
        return torch.stack([ones, self.theta], 1).repeat_interleave(PAIRS, 1)

    def _columns(self, places: Tensor) -> Tensor:
        index = places[:, None].expand(-1, 2 * PAIRS, -1)
        return self._pairs.gather(2, index)


def times_vector(matrices: Tensor, vectors: Tensor) -> Tensor:
    """A small matrix times a vector in each row; the sums are the same in any batch."""
    return (matrices * vectors[:, None]).sum(2)
