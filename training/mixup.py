"""Mixup (Zhang et al. 2018, arXiv 1710.09412): each run of a batch mixed with another one, and so are their truths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.dataset import RunBatch


@dataclass(frozen=True)
class Mixing:
    """One draw: what every run of a batch is mixed with."""

    partners: Tensor
    """``(C,)`` int64, a permutation."""
    share: float
    """Of a run's own content, in [0.5, 1]: below that it would be the partner's."""

    def blend(self, values: Tensor, present: Tensor) -> Tensor:
        """Mix contents.

        Args:
            values: ``(C, ...)`` or ``(C, R, ...)`` float.
            present: ``(C,)`` or ``(C, R)`` bool, where a run has the modality. What only one of the two has is taken
                from it whole.

        Returns:
            The shape of ``values``.
        """
        other = present[self.partners]
        own = torch.where(present & other, self.share, present.to(torch.float32))
        own = own.masked_fill(~present & ~other, 1.0).to(values)
        own = own.view(*own.shape, *(1,) * (values.ndim - own.ndim))
        return values * own + values[self.partners] * (1.0 - own)

    def mix_truth(self, batch: RunBatch) -> RunBatch:
        """The batch with mixed targets and the masks of both; its inputs are as they were."""
        targets = self.share * batch.targets + (1.0 - self.share) * batch.targets[self.partners]
        return batch._replace(
            masks=batch.masks | batch.masks[self.partners],
            targets=targets,
            inside=batch.inside & batch.inside[self.partners],
        )


def draw_mixing(num_runs: int, alpha: float, device: torch.device) -> Mixing:
    """Draw partners and a share from Beta(alpha, alpha), ``alpha`` above 0, by torch's global generator."""
    partners = torch.randperm(num_runs, device="cpu").to(device)
    gammas = torch.distributions.Gamma(torch.tensor([alpha, alpha]), torch.ones(2)).sample()
    share = float(gammas[0] / gammas.sum())
    return Mixing(partners, max(share, 1.0 - share))
