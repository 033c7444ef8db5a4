"""Remarks about this and that, whose tone is carried by one expression.

Words alone do not tell it: "not bad at all", "not good" and "neither good nor bad" share theirs.
"""

from __future__ import annotations

import numpy as np

EXPRESSIONS = (
    ("terrible", "awful", "a disappointment", "not good", "worse than i feared", "painful", "dreadful"),
    (
        "average",
        "as usual",
        "neither good nor bad",
        "about the same",
        "ordinary",
        "as before",
        "so so",
    ),
    (
        "wonderful",
        "great",
        "a delight",
        "not bad at all",
        "better than i hoped",
        "lovely",
        "brilliant",
    ),
)
"""By sentiment; the lists are of one length."""
TEMPLATES = (
    "the {thing} was {key}",
    "honestly the {thing} was {key}",
    "{time} the {thing} was {key}",
    "we went to the {thing} and it was {key}",
    "{key} that is what the {thing} was",
    "the {thing} {time} was {key} for everybody",
    "if you ask me {key} the whole {thing}",
    "my {person} and i found the {thing} {key}",
    "well the {thing} with my {person} was {key}",
    "i told my {person} that the {thing} was {key}",
)
THINGS = ("film", "concert", "soup", "journey", "speech", "match", "party", "play")
TIMES = ("yesterday", "this morning", "last week", "on sunday", "in the evening", "after work")
PERSONS = ("brother", "neighbour", "teacher", "daughter", "friend", "boss")


def draw_sentence(rng: np.random.Generator, view: int) -> str:
    """A sentence whose expression is of one of ``SENTIMENTS``: lower case, no punctuation."""

    def pick(choices: tuple[str, ...]) -> str:
        return choices[rng.integers(len(choices))]

    template, key = pick(TEMPLATES), pick(EXPRESSIONS[view])
    return template.format(key=key, thing=pick(THINGS), time=pick(TIMES), person=pick(PERSONS))
