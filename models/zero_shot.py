"""Recognition without training: windows and labels embedded into the same spaces, and compared by cosine.

CLIP (arXiv 2103.00020), SigLIP (arXiv 2303.15343), CLAP (arXiv 2211.06687).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Modality, ModelConfig
from models.fusion.base import FusionOutput
from models.model import ActivityModel
from models.pretrained.label_tower import LabelTower
from models.settings import SettingsError
from models.zero_shot_config import ZeroShotConfig

SMALLEST = 1e-30
"""Added to a probability before its logarithm: of float32's range, and far below anything that is answered."""


class WindowMeans(nn.Module):
    """In place of a fusion: each modality's own embedding of a window, side by side.

    Args:
        widths: for each modality, in the order of the model, the width of its embeddings.
    """

    def __init__(self, widths: Mapping[Modality, int]) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.output_width = sum(widths.values())

    def forward(self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> FusionOutput:
        """Average the tokens of each window's hops, and make the mean of length 1.

        Args:
            tokens: for each modality ``(B, hops, S, E)`` float.
            masks: for each modality ``(B, hops)`` bool, True where the hop has it.

        Returns:
            Embeddings ``(B, E)`` float, zeros where no hop of the window has the modality.
        """
        embeddings = {name: mean_of_hops(tokens[name], masks[name]) for name in self.widths}
        return FusionOutput(fused=torch.cat(list(embeddings.values()), dim=-1), embeddings=embeddings)


def mean_of_hops(tokens: Tensor, mask: Tensor) -> Tensor:
    """The embedding of windows ``(B, E)``, of length 1, from their hops ``(B, hops, S, E)``; zeros where none is there.

    Args:
        tokens: any float; what the mask leaves out may be anything.
        mask: ``(B, hops)`` bool, True = keep.
    """
    kept = tokens.mean(dim=2).masked_fill(~mask[:, :, None], 0.0)
    return functional.normalize(kept.sum(dim=1), dim=-1)


class Probes(nn.ModuleDict):
    """A linear classifier for each modality, whose scores are averaged (late fusion); ``activity fit`` fits them."""

    def __init__(self, widths: Mapping[Modality, int], config: ZeroShotConfig, num_labels: int) -> None:
        super().__init__({name: nn.Linear(widths[name], num_labels) for name in config.probes})
        self.widths = dict(widths)
        self.zero_shot = config
        self.num_labels = num_labels

    def forward(self, fused: Tensor) -> Tensor:
        """Logits whose softmax are the averaged scores.

        Args:
            fused: ``(B, sum of widths)``, as :class:`WindowMeans` gives it.

        Returns:
            ``(B, K)`` float32; all alike where a window has none of the modalities, and K is 0 without probes.
        """
        if not self:
            return fused.new_zeros(fused.shape[0], 0)
        embeddings = dict(zip(self.widths, fused.split(list(self.widths.values()), dim=-1), strict=True))
        with torch.autocast(fused.device.type, enabled=False):  # steep logits, and hardly any work
            scores = {name: probe(embeddings[name].float()).softmax(dim=-1) for name, probe in self.items()}
            present = {name: embeddings[name].any(dim=-1) for name in scores}
            mean = mean_of_scores(scores, present, {name: self.zero_shot.weight(name) for name in scores})
            return (mean + SMALLEST).log()


def mean_of_scores(
    scores: Mapping[Modality, Tensor], present: Mapping[Modality, Tensor], weights: Mapping[Modality, float]
) -> Tensor:
    """Late fusion: the weighted mean of the scores of the modalities that a window has.

    Args:
        scores: for each modality ``(W, K)`` float.
        present: for each of them ``(W,)`` bool.
        weights: for each of them a number above 0.

    Returns:
        ``(W, K)`` float; zeros where a window has none of them.
    """
    shares = torch.stack([present[name] * weights[name] for name in scores])  # (M, W)
    total = torch.stack(list(scores.values())).mul(shares[..., None]).sum(dim=0)
    return total / shares.sum(dim=0).clamp(min=torch.finfo(total.dtype).tiny)[:, None]


class ZeroShotModel(ActivityModel):
    """Pretrained encoders and, for each space, the text tower that shares it.

    Args:
        encoders: for each modality a module that maps a batch of hops to embeddings of length 1 ``(N, S, E)``.
        widths: for each modality E.
        towers: for each space its text tower.
        config: of spaces and weights.
        num_labels: of the probes.
    """

    fusion: WindowMeans

    def __init__(
        self,
        encoders: Mapping[Modality, nn.Module],
        widths: Mapping[Modality, int],
        towers: Mapping[str, LabelTower],
        config: ZeroShotConfig,
        *,
        num_labels: int = 0,
    ) -> None:
        super().__init__(encoders, WindowMeans(widths), Probes(widths, config, num_labels))
        self.towers.update(towers)

    @property
    def token_widths(self) -> Mapping[Modality, int]:
        """For each modality the width E of what its encoder gives."""
        return self.fusion.widths

    def tower(self, space: str) -> LabelTower:
        """The text tower of a space."""
        tower = self.towers[space]
        if not isinstance(tower, LabelTower):
            raise TypeError(f"{type(tower).__name__} is no text tower")
        return tower

    def embed_texts(self, space: str, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Embed texts into a space.

        Args:
            space: its name.
            token_ids: ``(L, S)`` int64, as the space's tokenizer gives them.
            token_mask: ``(L, S)`` bool, True = a token, False = padding.

        Returns:
            ``(L, E)`` float of length 1.
        """
        embedded: Tensor = self.tower(space)(token_ids, token_mask)
        return embedded


def build_zero_shot_model(config: ModelConfig, encoders: Mapping[Modality, nn.Module]) -> ZeroShotModel:
    """Put a model together from its encoders, with random text towers and probes.

    Raises:
        SettingsError: a tower and an encoder of one space have different widths.
        ValueError: ``config`` has no ``zero_shot``.
    """
    if config.zero_shot is None:
        raise ValueError("this model has no zero_shot")
    widths = {name: _width(encoder) for name, encoder in encoders.items()}
    towers = {name: LabelTower(space.text) for name, space in config.zero_shot.spaces.items()}
    for name, width in widths.items():
        space = config.zero_shot.space_of(name)
        if towers[space].embedding_width != width:
            raise SettingsError(
                f"the embeddings of {name} have {width} values, those of the text tower of {space} "
                f"{towers[space].embedding_width}: take both from one source"
            )
    return ZeroShotModel(encoders, widths, towers, config.zero_shot, num_labels=len(config.labels))


def _width(encoder: nn.Module) -> int:
    width = getattr(encoder, "embedding_width", None)
    if not isinstance(width, int):
        raise TypeError(f"{type(encoder).__name__} has no embedding_width")
    return width


def average_templates(embeddings: Tensor) -> Tensor:
    """A label's embedding ``(..., E)`` of length 1 from those of its sentences ``(..., templates, E)``."""
    return functional.normalize(embeddings.mean(dim=-2), dim=-1)


def score_labels(
    windows: Tensor, labels: Tensor, tower: LabelTower, *, none_threshold: float | None = None, temperature: float = 1.0
) -> Tensor:
    """How well each label fits each window, as the space's own training compared them.

    Args:
        windows: ``(W, E)`` of length 1.
        labels: ``(K, E)`` of length 1.
        tower: the space's, which says scale, bias and whether labels exclude each other.
        none_threshold: the cosine of a further label, "none of these": it is the best one exactly where no label's
            cosine reaches it.
        temperature: what the logits are divided by.

    Returns:
        ``(W, K)`` float64 in [0, 1], or ``(W, K + 1)`` with ``none_threshold``.
    """
    cosines = windows.double() @ labels.double().T
    if none_threshold is not None:
        cosines = torch.cat((cosines, cosines.new_full((len(cosines), 1), none_threshold)), dim=-1)
    logits = (cosines * tower.scale + tower.bias) / temperature
    return logits.softmax(dim=-1) if tower.scoring == "softmax" else torch.sigmoid(logits)
