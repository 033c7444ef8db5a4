"""A linear probe: multinomial logistic regression with an L2 penalty, on embeddings that do not change.

Few labelled clips fit it, as Radford et al. did for CLIP (arXiv 2103.00020, section 3.2). Everything is float64 and
without a draw of chance, so the same clips give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The penalties that are tried, for embeddings that are centred and scaled to a mean squared length of 1."""
DEFAULT_STRENGTH = 1e-2
"""Where nothing can be held out to choose by."""
MAX_LEAVE_ONE_OUT = 20
"""Groups up to which each is held out alone; of more, so many folds are made."""
NUM_FOLDS = 10
MAX_STEPS = 1000
TOLERANCE, FOLD_TOLERANCE = 1e-10, 1e-7
"""The largest gradient at which a fit ends; of those that only choose the strength."""
SMALLEST_SCORE = 1e-12
"""Below which a score counts as this in a logarithm."""


@dataclass(frozen=True)
class Examples:
    """Labelled windows."""

    embeddings: Tensor
    """``(N, E)`` float64."""
    labels: Tensor
    """``(N,)`` int64 in [0, K)."""
    clips: Tensor
    """``(N,)`` int64: which clip each is of."""
    groups: Tensor
    """``(N,)`` int64: what must not be torn apart when some are held out."""

    def take(self, kept: Tensor) -> Examples:
        """Those where ``kept`` ``(N,)`` bool is True."""
        return Examples(self.embeddings[kept], self.labels[kept], self.clips[kept], self.groups[kept])

    @property
    def shares(self) -> Tensor:
        """How much each window counts ``(N,)`` float64, 1 in all: each label alike, and each clip of a label alike."""
        pairs, place, sizes = torch.unique(
            torch.stack((self.labels, self.clips)), dim=1, return_inverse=True, return_counts=True
        )
        clips_of_label = torch.bincount(pairs[0])
        num_labels = int((clips_of_label > 0).sum())
        together: Tensor = num_labels * clips_of_label[self.labels] * sizes[place]
        return together.double().reciprocal()


@dataclass(frozen=True)
class Probe:
    """A fitted classifier."""

    weight: Tensor
    """``(K, E)`` float64."""
    bias: Tensor
    """``(K,)`` float64."""

    def score(self, embeddings: Tensor) -> Tensor:
        """Softmax scores ``(N, K)`` float64 of embeddings ``(N, E)``."""
        return (embeddings.double() @ self.weight.T + self.bias).softmax(dim=-1)


def fit_probe(examples: Examples, num_labels: int, strength: float, *, tolerance: float = TOLERANCE) -> Probe:
    """Minimise the mean cross-entropy plus ``strength / 2`` times the squared weights; the bias is free.

    The embeddings are centred, and scaled by one number, so that ``strength`` means the same for all kinds of them.

    Args:
        examples: each label has one at least.
        num_labels: K.
        strength: of the penalty, above 0.
        tolerance: the largest gradient at which it ends.

    Raises:
        ValueError: a label has no example: its bias would have no minimum.
    """
    if len(examples.labels.unique()) != num_labels:
        raise ValueError(f"{len(examples.labels.unique())} of {num_labels} labels have examples")
    shares = examples.shares
    centre = (shares[:, None] * examples.embeddings).sum(dim=0)
    centred = examples.embeddings - centre
    size = (shares * centred.square().sum(dim=1)).sum().sqrt()
    scale = size if size > 0 else torch.ones_like(size)
    inputs = centred / scale
    weight = torch.zeros(num_labels, inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_labels, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_STEPS,
        max_eval=2 * MAX_STEPS,
        tolerance_grad=tolerance,
        tolerance_change=1e-6 * tolerance,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        optimizer.zero_grad()
        wrong = functional.cross_entropy(inputs @ weight.T + bias, examples.labels, reduction="none")
        total: Tensor = (shares * wrong).sum() + strength / 2 * weight.square().sum()
        total.backward()
        return float(total.detach())

    with torch.enable_grad():
        optimizer.step(loss)
    fitted = weight.detach() / scale
    return Probe(fitted, bias.detach() - fitted @ centre)


def deal_folds(examples: Examples) -> list[Tensor]:
    """Which windows ``(N,)`` bool each fold holds out: a group each, or of many groups some each, dealt by label."""
    first_label = {int(group): int(label) for group, label in zip(examples.groups, examples.labels, strict=True)}
    groups = sorted(first_label, key=lambda group: (first_label[group], group))
    num_folds = len(groups) if len(groups) <= MAX_LEAVE_ONE_OUT else NUM_FOLDS
    dealt = [torch.tensor(groups[fold::num_folds]) for fold in range(num_folds)]
    return [torch.isin(examples.groups, held) for held in dealt]


@dataclass(frozen=True)
class HeldOut:
    """What probes say of windows that they have not seen."""

    scores: Tensor
    """``(N, K)`` float64; zeros where a window was not judged."""
    judged: Tensor
    """``(N,)`` bool: not those whose label no other group has."""


def score_held_out(examples: Examples, num_labels: int, strength: float) -> HeldOut:
    """Score each window by a probe of the folds that it is not in."""
    scores = torch.zeros(len(examples.labels), num_labels, dtype=torch.float64)
    judged = torch.zeros(len(examples.labels), dtype=torch.bool)
    for held in deal_folds(examples):
        learned = examples.take(~held)
        known = learned.labels.unique()
        if len(known) < 2:
            continue
        place = torch.searchsorted(known, learned.labels)
        renamed = Examples(learned.embeddings, place, learned.clips, learned.groups)
        probe = fit_probe(renamed, len(known), strength, tolerance=FOLD_TOLERANCE)
        right = torch.zeros(int(held.sum()), num_labels, dtype=torch.float64)
        right[:, known] = probe.score(examples.embeddings[held])
        scores[held] = right
        judged[held] = torch.isin(examples.labels[held], known)
    return HeldOut(scores, judged)


@dataclass(frozen=True)
class Choice:
    """The penalty that held-out windows chose."""

    strength: float
    held_out: HeldOut


def choose_strength(examples: Examples, num_labels: int, strengths: Sequence[float] = STRENGTHS) -> Choice:
    """The strength with the smallest cross-entropy on held-out windows; of equal ones the strongest.

    Where no window can be judged it is ``DEFAULT_STRENGTH``.
    """
    best: Choice | None = None
    smallest = float("inf")
    for strength in sorted(strengths, reverse=True):
        held_out = score_held_out(examples, num_labels, strength)
        if not held_out.judged.any():
            return Choice(DEFAULT_STRENGTH, held_out)
        shares = examples.shares[held_out.judged]
        of_label = held_out.scores[held_out.judged, examples.labels[held_out.judged]]
        loss = float(-(shares * of_label.clamp(min=SMALLEST_SCORE).log()).sum() / shares.sum())
        if loss < smallest:
            best, smallest = Choice(strength, held_out), loss
    if best is None:
        raise ValueError("no strength is given")
    return best
