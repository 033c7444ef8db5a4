from __future__ import annotations

from typing import Any

import pytest

from models.pretrained.config import PretrainedConfig
from models.settings import SettingsError
from models.zero_shot_config import ZeroShotConfig, clean_label, clean_template

TOWER = {"source": "weights/clip", "output": "embedding"}
SPACES = {"sight": {"modalities": ["video", "image"], "text": TOWER}, "sound": {"modalities": ["audio"], "text": TOWER}}


def config(**changes: Any) -> ZeroShotConfig:
    return ZeroShotConfig.read({"spaces": SPACES, **changes}, source="zero_shot")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" stir\t the\n soup ", "stir the soup"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u3000雨 の音", "雨 の音"),
        ("x" * 200, "x" * 200),
    ],
)
def test_labels_are_cleaned(text: str, cleaned: str) -> None:
    assert clean_label(text) == cleaned == clean_label(cleaned)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "blank"),
        (" \n", "blank"),
        ("\u200b \u200c", "blank"),
        ("x" * 201, "200 characters, got 201"),
        ("\udc80", "Unicode"),
        ("a\x07", "control"),
    ],
)
def test_what_is_no_label_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        clean_label(text)


def test_a_template_has_one_place() -> None:
    assert clean_template(" a photo  of {} {x} {0}") == "a photo of {} {x} {0}"
    for text in ("a photo", "{} {}", "{ }"):
        with pytest.raises(ValueError, match=r"exactly one \{\}"):
            clean_template(text)


def test_modalities_know_their_space_and_weight() -> None:
    given = config(weights={"audio": 0.5})
    assert given.modalities == ("video", "image", "audio")
    assert [given.space_of(name) for name in given.modalities] == ["sight", "sight", "sound"]
    assert [given.weight(name) for name in given.modalities] == [1.0, 1.0, 0.5]
    assert given.takes_labels
    assert not config(probes=["audio"]).takes_labels
    with pytest.raises(KeyError):
        given.space_of("text")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"spaces": {}}, "spaces"),
        ({"spaces": {"all": SPACES["sight"]}}, "cannot be named all"),
        ({"spaces": {"a": SPACES["sight"], "b": SPACES["sight"]}}, "one space only"),
        ({"weights": {"text": 1.0}}, "weights names text"),
        ({"weights": {"audio": 0.0}}, "weights"),
        ({"probes": ["text"]}, "probes names text"),
        ({"none_label": "nothing"}, "sight, sound has none"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        config(**changes)


def test_none_of_these_belongs_to_labels_of_the_request() -> None:
    spaces = {name: {**space, "none_threshold": 0.2} for name, space in SPACES.items()}
    assert config(spaces=spaces, none_label="nothing").none_label == "nothing"
    with pytest.raises(SettingsError, match="with probes it must be left out"):
        config(spaces=spaces, none_label="nothing", probes=["audio"])
    with pytest.raises(ValueError, match="leave it out of them"):
        check(config(spaces=spaces, none_label="nothing"), labels=("nothing", "soup"))


def check(given: ZeroShotConfig, labels: tuple[str, ...] = (), **encoders: PretrainedConfig | None) -> None:
    into_space = PretrainedConfig(source="x", output="embedding")
    given.check({**dict.fromkeys(given.modalities, into_space), **encoders}, labels)


def test_every_encoder_leads_into_a_space() -> None:
    check(config())
    with pytest.raises(ValueError, match="they name audio, image, video, the model has audio, image, text, video"):
        check(config(), text=PretrainedConfig(source="x", output="embedding"))
    for unfit in (None, PretrainedConfig(source="x")):
        with pytest.raises(ValueError, match="whose output is embedding: audio has none"):
            check(config(), audio=unfit)
    with pytest.raises(ValueError, match="must be written 'a b'"):
        check(config(), labels=("a  b",))
    with pytest.raises(ValueError, match="a model with probes has labels"):
        check(config(probes=["audio"]))
