"""What the face, the voice and the words of a remark show, and how often they mislead."""

from __future__ import annotations

from training.synth.channels import Channel, build_channel, ceilings

SENTIMENTS = ("negative", "neutral", "positive")
"""Also the views of each modality."""

FACE: Channel = build_channel([[0.62, 0.32, 0.06], [0.12, 0.64, 0.24], [0.03, 0.12, 0.85]])
"""Who is displeased often does not show it, and who does not care may smile."""
VOICE: Channel = build_channel([[0.72, 0.06, 0.22], [0.08, 0.84, 0.08], [0.26, 0.08, 0.66]])
"""Anger and joy are both lively; a level voice is neutral."""
WORDS: Channel = build_channel([[0.68, 0.10, 0.22], [0.12, 0.76, 0.12], [0.06, 0.16, 0.78]])
"""Irony says the opposite."""


def sentiment_ceilings() -> dict[str, float]:
    """The highest accuracy that each subset of the modalities allows."""
    return ceilings({"video": FACE, "audio": VOICE, "text": WORDS})
