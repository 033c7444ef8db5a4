"""Sentences whose meaning is one of two, carried by a synonym alone.

Both meanings use the same templates, persons, places and remarks; the remarks also name motions and sounds, truly or
not, so that only the synonym tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SYNONYMS = (
    ("hello", "hi", "welcome", "good morning", "greetings", "nice to meet you"),
    ("goodbye", "bye", "farewell", "good night", "so long", "nice to have met you"),
)
"""By phrase bit; both lists are of one length."""

TEMPLATES = (
    "{key} {person}",
    "{key} {person} {remark}",
    "well {key} {person}",
    "{remark} {key} {person}",
    "oh {person} {key}",
    "{key} to you {person} at the {place}",
    "i say {key} to {person}",
    "and {key} from the {place}",
    "{person} at the {place} {key}",
    "{key} again {person} {remark}",
    "now {key} everyone {remark}",
    "here at the {place} we say {key}",
    "{remark} so {key} then",
    "so it is {key} {person} by the {place}",
    "once more {key} all of you",
    "they say {key} and {remark}",
)
PERSONS = ("my friend", "dear neighbour", "anna", "doctor", "children", "mister brown", "sister", "captain")
PLACES = ("door", "station", "garden", "kitchen", "market", "window", "bridge", "office")
REMARKS = (
    "the ball may bounce",
    "see the wave",
    "the tone will rise",
    "prices fall",
    "it rains a little",
    "what a day",
    "the tea is ready",
    "look up and down",
    "from side to side",
    "the bird sings high",
    "the drum is low",
    "time runs on",
)


@dataclass(frozen=True)
class Phrase:
    """Everything that is drawn about a sentence except its meaning; each field is an index."""

    template: int
    synonym: int
    person: int
    place: int
    remark: int

    def say(self, meaning: int) -> str:
        """The sentence with the meaning ``meaning``, an index into ``SYNONYMS``: lower case, no punctuation."""
        return TEMPLATES[self.template].format(
            key=SYNONYMS[meaning][self.synonym],
            person=PERSONS[self.person],
            place=PLACES[self.place],
            remark=REMARKS[self.remark],
        )


def draw_phrases(rng: np.random.Generator, count: int) -> tuple[Phrase, ...]:
    """Draw ``count`` phrases, at most ``len(TEMPLATES)``, each of another template."""
    templates = rng.permutation(len(TEMPLATES))[:count]
    sizes = (len(SYNONYMS[0]), len(PERSONS), len(PLACES), len(REMARKS))
    return tuple(Phrase(int(template), *(int(rng.integers(size)) for size in sizes)) for template in templates)
