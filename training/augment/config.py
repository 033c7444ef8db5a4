"""The recipe's section ``augmentation``: random changes by modality, all off unless stated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models.config import Name
from models.settings import Fraction, PositiveInt, Settings

Count = Annotated[int, Field(ge=0)]
Strength = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
NoiseKind = Literal["white", "pink", "mix"]


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] <= limits[1]:
        raise ValueError(f"a range goes from its low to its high end, got [{limits[0]}, {limits[1]}]")
    return limits


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""Both ends, from which a value is drawn evenly."""
PositiveRange = Annotated[
    tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], Annotated[float, Field(gt=0.0, allow_inf_nan=False)]],
    AfterValidator(_ascending),
]


class _Part(Settings):
    """``probability``: with which a run is changed at all."""

    probability: Fraction = 1.0


class ImageAugmentation(_Part):
    """A picture's.

    ``crop_scale``: range of the share of the area that a random crop keeps, which is then resized back. ``flip``:
    mirror left and right with probability 1/2; only where no label tells left from right. ``brightness``,
    ``contrast`` and ``saturation``: half-widths around 1 of the range of each factor.
    """

    crop_scale: tuple[Fraction, Fraction] | None = None
    flip: bool = False
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0

    @model_validator(mode="after")
    def _crop_keeps_something(self) -> Self:
        if self.crop_scale is not None and not 0.0 < self.crop_scale[0] <= self.crop_scale[1]:
            raise ValueError(f"crop_scale must be a range above 0, got {list(self.crop_scale)}")
        return self


class VideoAugmentation(ImageAugmentation):
    """A video's or a depth track's, besides a picture's.

    ``shift_frames``: the most frames by which those of every hop move, the hop's first or last one standing in for
    what is missing. ``drop_frames``: probability with which a frame is lost and the one before it is shown longer.
    """

    shift_frames: Count = 0
    drop_frames: Fraction = 0.0


class AudioAugmentation(_Part):
    """A sound's: of the samples, then of the log-mel spectrogram.

    ``noise``: kinds to draw from: ``white``, ``pink`` (power falls as 1/f), ``mix`` (``mix_runs`` other runs of the
    batch at once); at a ratio of powers drawn from ``snr_db``; with ``noise_probability``. ``gain_db``: range of the
    change of level. ``polarity``: turn the sign with probability 1/2. ``shift_seconds``: the most by which the run is
    turned in time, its end coming in at its start.

    ``time_masks`` and ``frequency_masks``: how many spans are blanked, each of up to ``time_mask_frames`` mel frames
    or ``frequency_mask_bins`` bins (SpecAugment, arXiv 1904.08779). ``stretch``: range of the speed, above 1 faster.
    ``equaliser_db``: the most by which a smooth curve over frequency raises or lowers the level, as microphones and
    rooms do (after FilterAugment, arXiv 2110.03282). ``shift_bins``: the most mel bins by which everything moves up or
    down, nearly a change of pitch.
    """

    noise: tuple[NoiseKind, ...] = ()
    snr_db: Range = (0.0, 20.0)
    noise_probability: Fraction = 1.0
    mix_runs: PositiveInt = 3
    gain_db: Range | None = None
    polarity: bool = False
    shift_seconds: Strength = 0.0
    time_masks: Count = 0
    time_mask_frames: PositiveInt = 10
    frequency_masks: Count = 0
    frequency_mask_bins: PositiveInt = 8
    stretch: PositiveRange | None = None
    equaliser_db: Strength = 0.0
    shift_bins: Strength = 0.0


class TextAugmentation(_Part):
    """A text's: each token is left out with probability ``word_dropout``, but never all of a hop's."""

    word_dropout: Fraction = 0.0


class VectorAugmentation(_Part):
    """A sequence of vectors'.

    ``gain``: range of a factor for all channels. ``axis_gain``: standard deviation around 1 of a factor for each
    channel; channels are never mixed, since an axis has its meaning. ``noise``: standard deviation of what is added,
    as a share of the channel's own in this run.
    """

    gain: PositiveRange | None = None
    axis_gain: Strength = 0.0
    noise: Strength = 0.0


class AugmentationConfig(Settings):
    """By modality; one draw a run, for all its hops. Off where null."""

    video: VideoAugmentation | None = None
    depth: VideoAugmentation | None = None
    image: ImageAugmentation | None = None
    audio: AudioAugmentation | None = None
    text: TextAugmentation | None = None
    vectors: dict[Name, VectorAugmentation] = Field(default_factory=dict)

    @property
    def modalities(self) -> frozenset[Name]:
        """Those whose inputs it changes."""
        single = {name for name in type(self).model_fields if name != "vectors" and getattr(self, name) is not None}
        return frozenset(single | set(self.vectors))
