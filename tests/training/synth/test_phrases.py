"""Phrases: the meaning is in the synonym, everything else is shared."""

from __future__ import annotations

import itertools

import numpy as np

from training.synth.phrases import PERSONS, PLACES, REMARKS, SYNONYMS, TEMPLATES, Phrase, draw_phrases


def all_phrases() -> list[Phrase]:
    """Every template with every synonym, and each of the rest at least once."""
    rest = zip(*(itertools.cycle(range(len(words))) for words in (PERSONS, PLACES, REMARKS)), strict=False)
    pairs = itertools.product(range(len(TEMPLATES)), range(len(SYNONYMS[0])))
    return [Phrase(template, synonym, *filler) for (template, synonym), filler in zip(pairs, rest, strict=False)]


def test_there_are_enough_ways_to_say_it() -> None:
    assert len(TEMPLATES) >= 12
    assert len(SYNONYMS[0]) == len(SYNONYMS[1]) == 6
    assert all(template.count("{key}") == 1 for template in TEMPLATES)


def test_a_sentence() -> None:
    phrase = Phrase(template=8, synonym=1, person=3, place=1, remark=0)
    assert phrase.say(0) == "doctor at the station hi"
    assert phrase.say(1) == "doctor at the station bye"


def test_exactly_one_meaning_is_said() -> None:
    for phrase in all_phrases():
        for meaning in (0, 1):
            words = f" {phrase.say(meaning)} "
            said = [any(f" {synonym} " in words for synonym in SYNONYMS[other]) for other in (0, 1)]
            assert said == [meaning == 0, meaning == 1], words


def test_no_other_word_belongs_to_one_meaning() -> None:
    keys = {word for synonyms in SYNONYMS for synonym in synonyms for word in synonym.split()}
    vocabularies = [
        {word for phrase in all_phrases() for word in phrase.say(meaning).split()} - keys for meaning in (0, 1)
    ]
    assert vocabularies[0] == vocabularies[1]
    assert len(vocabularies[0]) > 60


def test_a_draw_repeats_no_template() -> None:
    drawn = draw_phrases(np.random.default_rng(0), 12)
    assert len({phrase.template for phrase in drawn}) == 12
    assert len({phrase.say(0) for phrase in drawn}) == 12
