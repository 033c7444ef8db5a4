from __future__ import annotations

from pathlib import Path

import pytest

from models.settings import SettingsError
from models.tokenizer import CHARACTERS_PER_TOKEN, PADDING_ID, UNKNOWN_ID, load_tokenizer, tokenize, train_tokenizer
from tests.models.tiny import tiny_tokenizer

TEXTS = ["stir the soup", "chop the onion", "pour the milk"] * 4


def test_the_vocabulary_is_no_larger_than_asked_for_and_begins_with_the_special_tokens() -> None:
    tokenizer = train_tokenizer(TEXTS, 30)
    assert tokenizer.get_vocab_size() == 30
    assert (tokenizer.token_to_id("[PAD]"), tokenizer.token_to_id("[UNK]")) == (PADDING_ID, UNKNOWN_ID) == (0, 1)


def test_training_gives_the_same_tokenizer_again() -> None:
    assert train_tokenizer(TEXTS, 50).to_str() == train_tokenizer(iter(TEXTS), 50).to_str()


def test_texts_are_padded_and_cut_to_one_length() -> None:
    ids, mask = tokenize(tiny_tokenizer(), ["the", "the the the the the the"], 4)
    the = tiny_tokenizer().token_to_id("the")
    assert ids.tolist() == [[the, 0, 0, 0], [the] * 4]
    assert mask.tolist() == [[True, False, False, False], [True] * 4]


def test_case_accents_and_compatibility_forms_do_not_matter() -> None:
    texts = ["stir the soup", "STIR  Th\u00e9\tsou\u0301p", "\uff53\uff54\uff49\uff52 the soup"]
    ids, _ = tokenize(tiny_tokenizer(), texts, 8)
    assert ids[0].tolist() == ids[1].tolist() == ids[2].tolist()
    assert UNKNOWN_ID not in ids[0].tolist()


@pytest.mark.parametrize("text", ["", " ", "\u0301", "\u200b"])
def test_no_row_is_empty(text: str) -> None:
    ids, mask = tokenize(tiny_tokenizer(), [text], 4)
    assert ids.tolist() == [[UNKNOWN_ID, 0, 0, 0]]
    assert mask.tolist() == [[True, False, False, False]]


def test_unknown_characters_become_the_unknown_token() -> None:
    ids, mask = tokenize(tiny_tokenizer(), ["\u732b"], 4)
    assert ids[0, 0] == UNKNOWN_ID
    assert mask[0].tolist() == [True, False, False, False]


def test_only_the_head_of_a_long_text_is_looked_at() -> None:
    looked_at = CHARACTERS_PER_TOKEN * 4
    words = "the " * (looked_at // 4)
    same, _ = tokenize(tiny_tokenizer(), [" " * (looked_at - 3) + "the soup", " " * (looked_at - 3) + "the"], 4)
    assert same[0].tolist() == same[1].tolist()
    longer, _ = tokenize(tiny_tokenizer(), [words, words * 100], 4)
    assert longer[0].tolist() == longer[1].tolist()


def test_a_saved_tokenizer_reads_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tiny_tokenizer().save(str(path))
    assert load_tokenizer(path).to_str() == tiny_tokenizer().to_str()
    for content in (b"{}", b"\xff", b""):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"^tokenizer\.json is no tokenizer: "):
            load_tokenizer(path)
    with pytest.raises(SettingsError, match="is no tokenizer"):
        load_tokenizer(tmp_path / "none.json")
