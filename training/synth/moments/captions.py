"""Sentences that say what is seen and heard."""

from __future__ import annotations

from training.synth.scene import Motion, Scene
from training.synth.script import ClipScript, SegmentScript
from training.synth.tones import Chirps, Room

TEMPLATES = (
    "a {colour} {shape} on {ground} ground {moves} {tempo} while a {pitch} tone {goes}{noise}",
    "on {ground} ground a {colour} {shape} {moves} {tempo} and a {pitch} tone {goes}{noise}",
    "a {pitch} tone {goes}{noise} as a {colour} {shape} {moves} {tempo} on {ground} ground",
    "{tempo} a {colour} {shape} {moves} on {ground} ground to a {pitch} tone that {goes}{noise}",
)
MOVES = ("waves", "bounces")
GOES = ("rises", "falls")
NOISES = {"none": "", "hum": " over a hum", "clicks": " among clicks"}
HZ_OF_TEMPO = ((1.47, "slowly"), (1.73, "steadily"))
HZ_OF_PITCH = ((500.0, "low"), (650.0, "middle"))
"""Up to where each word holds; they cut the drawn range into equal thirds."""


def write_caption(script: ClipScript, segment: SegmentScript, template: int) -> str:
    """What a segment shows, as a sentence: lower case, no punctuation.

    Args:
        script: the clip.
        segment: one of its segments.
        template: an index into ``TEMPLATES``: the order of the words, not what they mean.
    """
    words = {**_seen(script.scene, segment.motion), **_heard(segment.chirps, script.room)}
    moves, goes = MOVES[segment.activity.motion], GOES[segment.activity.sound]
    return TEMPLATES[template].format(moves=moves, goes=goes, **words)


def _seen(scene: Scene, motion: Motion) -> dict[str, str]:
    _, cb, cr = scene.sprite.colour
    colour = {(True, True): "violet", (True, False): "blue", (False, True): "red", (False, False): "green"}
    return {
        "colour": colour[cb > 128, cr > 128],
        "shape": scene.sprite.shape,
        "ground": "dark" if scene.colours[0][0] < 128 else "light",
        "tempo": _word_of(motion.frequency_hz, HZ_OF_TEMPO, "quickly"),
    }


def _heard(chirps: Chirps, room: Room) -> dict[str, str]:
    return {"pitch": _word_of(chirps.low_hz, HZ_OF_PITCH, "high"), "noise": NOISES[room.distractor]}


def _word_of(value: float, words: tuple[tuple[float, str], ...], beyond: str) -> str:
    return next((word for bound, word in words if value < bound), beyond)
