"""Words from the sound: what the library's own pipeline hears in the same samples, as cues of the clip."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from handler import transcription
from handler.clip import Waveform
from handler.errors import InvalidOptions, LimitExceeded, UndecodableMedia
from handler.options import RequestOptions
from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest
from handler.runtime import choose_runtime
from handler.transcription import SHORTEST_SECONDS, Transcriber, split_transcription
from models.config import ModelConfig
from models.fusion_config import CrossAttentionConfig
from models.settings import SettingsError
from models.side_config import TranscriberConfig
from tests.media import X264, Picture, Sound, render
from tests.models.tiny import TINY
from tests.side_factory import tiny_whisper, write_checkpoint

RUNTIME = choose_runtime(threads=1)
SETTINGS = TranscriberConfig(source="whisper", language="en", max_new_tokens=12)

pytestmark = [
    pytest.mark.filterwarnings("ignore:std"),  # the library's, of a pass that says one token
]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("source") / "whisper", seed=3)


@pytest.fixture(scope="module")
def transcriber(whisper: Path) -> Transcriber:
    return Transcriber(whisper, SETTINGS, RUNTIME)


@pytest.fixture(scope="module")
def config(whisper: Path) -> ModelConfig:
    return TINY.model_copy(update={"transcriber": SETTINGS.model_copy(update={"source": str(whisper)})})


@pytest.fixture(scope="module")
def pipeline(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> ActivityPipeline:
    return ActivityPipeline.from_checkpoint(
        write_checkpoint(tmp_path_factory.mktemp("checkpoint"), config), runtime=RUNTIME
    )


def sound(seconds: float, *, seed: int = 0, start_seconds: float = 0.0) -> Waveform:
    """Noise whose loudness comes and goes."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).standard_normal(len(times)) * 0.1 * np.sin(times)
    return Waveform(noise.astype(np.float32), 16_000, start_seconds)


def answer(pipeline: ActivityPipeline, raw: dict[str, Any]) -> dict[str, Any]:
    (response,) = pipeline.respond([raw], ["request"])
    values = json.loads(response.body)
    assert isinstance(values, dict)
    return values


def library_words(folder: Path, waveform: Waveform) -> list[tuple[float, float, str]]:
    """What the library's own pipeline makes of the folder and the samples."""
    recognise: Any = transformers.pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
    heard = recognise(
        {"raw": waveform.samples, "sampling_rate": 16_000},
        return_timestamps="word",
        generate_kwargs={"language": "en", "task": "transcribe", "max_new_tokens": 12, "num_beams": 1},
    )
    return [(*word["timestamp"], word["text"]) for word in heard["chunks"]]


@pytest.mark.parametrize("seconds", [4.0, 29.5, 47.0])
def test_it_hears_what_the_librarys_pipeline_hears(whisper: Path, transcriber: Transcriber, seconds: float) -> None:
    waveform = sound(seconds)
    expected = [word for word in library_words(whisper, waveform) if word[0] <= seconds]
    found = transcriber.hear(waveform).cues
    assert len(found) == len(expected) >= 1
    for cue, (start, stop, text) in zip(found, expected, strict=True):
        assert cue.text == text.strip()
        assert cue.start_seconds == pytest.approx(min(start, seconds - SHORTEST_SECONDS), abs=1e-5)
        assert cue.stop_seconds == pytest.approx(min(max(stop, start + SHORTEST_SECONDS), seconds), abs=1e-5)


def test_words_stand_on_the_clips_timeline(transcriber: Transcriber) -> None:
    at_zero, later = transcriber.hear(sound(47.0)), transcriber.hear(sound(47.0, start_seconds=2.5))
    assert later.heard_in is not None
    assert (later.heard_in.start_seconds, later.heard_in.stop_seconds) == (2.5, 49.5)
    assert [cue.start_seconds for cue in later.cues] == pytest.approx([cue.start_seconds + 2.5 for cue in at_zero.cues])
    assert [cue.text for cue in later.cues] == [cue.text for cue in at_zero.cues]


def test_the_library_times_words_beyond_the_sound_and_we_do_not(whisper: Path, transcriber: Transcriber) -> None:
    assert max(start for start, *_ in library_words(whisper, sound(4.0))) > 4.0
    assert max(cue.stop_seconds for cue in transcriber.hear(sound(4.0)).cues) <= 4.0


def test_a_sound_is_heard_alike_each_time(transcriber: Transcriber) -> None:
    assert transcriber.hear(sound(4.0)) == transcriber.hear(sound(4.0))


def test_a_sound_that_is_too_long_is_refused(whisper: Path) -> None:
    short = Transcriber(whisper, SETTINGS.model_copy(update={"max_seconds": 3.0}), RUNTIME)
    with pytest.raises(LimitExceeded, match=r"4\.0 s, at most 3 s"):
        short.hear(sound(4.0))


def test_one_that_hardly_gets_on_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "PASSES_PER_CHUNK", 1)
    slow = Transcriber(tiny_whisper(tmp_path / "slow", seed=2), SETTINGS, RUNTIME)  # some seconds a pass
    with pytest.raises(LimitExceeded, match=r"more than 2 passes for 47\.0 s"):
        slow.hear(sound(47.0))


def test_no_words_are_no_words(tmp_path: Path) -> None:
    mute = Transcriber(tiny_whisper(tmp_path / "mute", seed=4), SETTINGS, RUNTIME)
    with pytest.raises(UndecodableMedia, match="no words were heard"):
        mute.hear(sound(4.0))


def test_a_language_that_it_does_not_know_is_refused_when_it_is_loaded(whisper: Path) -> None:
    with pytest.raises(SettingsError, match="'klingon' is none of Whisper's"):
        Transcriber(whisper, SETTINGS.model_copy(update={"language": "klingon"}), RUNTIME)


def test_one_that_knows_english_alone_takes_no_other_language(whisper: Path, tmp_path: Path) -> None:
    shutil.copytree(whisper, tmp_path / "english")
    path = tmp_path / "english" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"is_multilingual": False}))
    with pytest.raises(SettingsError, match="knows English alone"):
        Transcriber(tmp_path / "english", SETTINGS.model_copy(update={"language": "de"}), RUNTIME)
    assert Transcriber(tmp_path / "english", SETTINGS, RUNTIME).hear(sound(4.0)).cues


def test_the_processor_of_another_model_is_refused_when_it_is_loaded(whisper: Path, tmp_path: Path) -> None:
    shutil.copytree(whisper, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(SettingsError, match="other has no processor of Whisper's"):
        Transcriber(tmp_path / "other", SETTINGS, RUNTIME)


@pytest.mark.parametrize(
    "faulty", [{"alignment_heads": [[99, 0]]}, {"lang_to_id": {}}, {"no_timestamps_token_id": None}]
)
def test_a_configuration_that_no_request_could_use_is_refused_when_it_is_loaded(
    whisper: Path, tmp_path: Path, faulty: dict[str, Any]
) -> None:
    shutil.copytree(whisper, tmp_path / "faulty")
    path = tmp_path / "faulty" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | faulty))
    with pytest.raises(SettingsError, match="does not transcribe"):
        Transcriber(tmp_path / "faulty", SETTINGS, RUNTIME)


def test_words_of_next_to_no_sound_do_not_begin_before_it(transcriber: Transcriber) -> None:
    cues = transcriber.hear(Waveform(np.zeros(1, dtype=np.float32), 16_000, 2.0)).cues
    assert min(cue.start_seconds for cue in cues) == 2.0


def movie() -> bytes:
    return render("mp4", Picture(num_frames=80, width=32, height=32, options=X264), Sound(seconds=3.2))


def silent_movie() -> bytes:
    return render("mp4", Picture(num_frames=40, width=32, height=32, options=X264))


TRANSCRIPT: dict[str, Any] = {"extras": ["transcript"]}


@pytest.mark.parametrize(
    "raw",
    [
        {"video": movie(), "text": "auto", "options": json.dumps(TRANSCRIPT)},  # multipart
        {"video": bytearray(movie()), "text": b" auto\n", "options": json.dumps(TRANSCRIPT).encode()},  # gRPC's map
        {"body": {"video": base64.b64encode(movie()).decode(), "text": "auto", "options": TRANSCRIPT}},
        {"video": movie(), "options": {"extras": ["transcript"], "transcribe": True}},
    ],
)
def test_what_is_heard_is_the_text(pipeline: ActivityPipeline, raw: dict[str, Any]) -> None:
    """The answer is that to the same words sent as WebVTT."""
    found = answer(pipeline, raw)
    transcript = found.pop("transcript")
    assert transcript
    assert found["modalities"]["text"] == {"used": True}
    cues = [
        f"00:{cue['start_seconds']:06.3f} --> 00:{cue['stop_seconds']:06.3f}\n{cue['text']}\n" for cue in transcript
    ]
    sent = {"video": movie(), "text": "\n".join(["WEBVTT\n", *cues])}
    assert answer(pipeline, sent) == found
    assert answer(pipeline, {"video": movie()})["activities"] != found["activities"]


def test_a_transcription_depends_on_nobody_else_in_the_batch(pipeline: ActivityPipeline) -> None:
    raw = {"video": movie(), "text": "auto", "options": TRANSCRIPT}
    (alone,) = pipeline.respond([raw], ["a"])
    together = pipeline.respond([{"video": b"broken", "text": "auto"}, raw, {"text": "auto"}], ["a", "b", "c"])
    assert [response.status for response in together] == [422, 200, 422]
    assert together[1].body == alone.body


def test_sound_that_is_sent_apart_is_what_is_heard(pipeline: ActivityPipeline) -> None:
    apart = render("wav", Sound(codec="pcm_s16le", seconds=1.3))
    found = answer(pipeline, {"video": silent_movie(), "audio": apart, "text": "auto", "options": TRANSCRIPT})
    assert found["modalities"]["text"] == {"used": True}
    assert (
        found["transcript"] == answer(pipeline, {"audio": apart, "text": "auto", "options": TRANSCRIPT})["transcript"]
    )


def test_without_sound_the_text_says_why(pipeline: ActivityPipeline) -> None:
    found = answer(pipeline, {"video": silent_movie(), "text": "auto", "options": TRANSCRIPT})
    assert found["modalities"]["text"] == {
        "used": False,
        "code": "not_sent",
        "reason": "the container has no sound to transcribe",
    }
    assert found["transcript"] == []


def test_a_model_of_words_alone_answers_sound(config: ModelConfig, tmp_path: Path) -> None:
    words_only = config.model_copy(update={"video": None, "audio": None, "fusion": CrossAttentionConfig(heads=2)})
    pipeline = ActivityPipeline.from_checkpoint(write_checkpoint(tmp_path, words_only), runtime=RUNTIME)
    found = answer(pipeline, {"audio": render("wav", Sound(codec="pcm_s16le", seconds=3.0)), "text": "auto"})
    assert found["modalities"]["text"] == {"used": True}
    assert (found["start_seconds"], found["duration_seconds"]) == (0.0, 3.0)


def request(text: str | None, **options: Any) -> ActivityRequest:
    return ActivityRequest(video=b"video", audio=None, text=text, options=RequestOptions(**options))


def test_who_asks_for_a_transcription(config: ModelConfig) -> None:
    assert split_transcription(request("auto"), config) == (request(None), True)
    assert split_transcription(request("\ufeffauto\r\n"), config) == (request(None), True)  # as some editors save it
    assert split_transcription(request(None, transcribe=True), config)[1]
    assert split_transcription(request("auto", transcribe=True), config)[1]
    words = request("an auto")
    assert split_transcription(words, config) == (words, False)
    word = request("auto", transcribe=False)
    assert split_transcription(word, config) == (word, False)
    assert split_transcription(request("auto"), TINY) == (request("auto"), False)


@pytest.mark.parametrize(
    ("sent", "has_transcriber", "message"),
    [
        (request(None, transcribe=True), False, "no transcriber"),
        (request("words", transcribe=True), True, "words were sent as well"),
        (request("words", extras=("transcript",)), True, "needs a transcription"),
        (request("auto", extras=("transcript",)), False, "needs a transcription"),
    ],
)
def test_what_cannot_be_is_refused(
    config: ModelConfig, sent: ActivityRequest, message: str, *, has_transcriber: bool
) -> None:
    with pytest.raises(InvalidOptions, match=message):
        split_transcription(sent, config if has_transcriber else TINY)
