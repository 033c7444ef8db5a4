"""Descriptions: what the library's own calls say of the same frame, as one line of each segment."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from handler.description import Describer, check_descriptions
from handler.errors import InvalidOptions
from handler.limits import Limits
from handler.looks import look_at
from handler.options import RequestOptions
from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest
from handler.response import render_prediction
from handler.runtime import choose_runtime
from handler.segments import Segment
from handler.side import MAX_CHARACTERS, one_line
from models.settings import SettingsError
from models.side_config import CaptionerConfig
from tests.handler.requests import make_request
from tests.media import X264, Picture, Sound, png, render
from tests.models.tiny import TINY
from tests.side_factory import tiny_blip, tiny_llava, write_checkpoint

RUNTIME = choose_runtime(threads=1)


def settings(**changed: Any) -> CaptionerConfig:
    return CaptionerConfig(source="captioner", max_new_tokens=8).model_copy(update=changed)


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


def picture(seed: int) -> NDArray[np.uint8]:
    """Blocks of random colours, ``(3, 48, 64)``."""
    blocks = np.random.default_rng(seed).integers(0, 256, (3, 6, 8), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize("prompt", [None, "a video of"])
def test_blip_says_what_the_library_says(blip: Path, prompt: str | None) -> None:
    describer = Describer(blip, settings(prompt=prompt), RUNTIME)
    model: Any = AutoModelForImageTextToText.from_pretrained(blip)
    processor: Any = AutoProcessor.from_pretrained(blip)
    said = set()
    for seed in range(4):
        shown = Image.fromarray(picture(seed).transpose(1, 2, 0))
        inputs = processor(images=shown, text=prompt, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        expected = processor.decode(tokens[0], skip_special_tokens=True)
        assert describer.sentence(picture(seed)) == expected
        assert expected.startswith(prompt or "")
        said.add(expected)
    assert len(said) > 1  # it looks


def test_llava_says_what_the_librarys_pipeline_says(llava: Path) -> None:
    describer = Describer(llava, settings(prompt="the man"), RUNTIME)
    ask: Any = pipeline("image-text-to-text", model=str(llava), device="cpu")
    said = set()
    for seed in range(4):
        shown = Image.fromarray(picture(seed).transpose(1, 2, 0))
        turn = {"role": "user", "content": [{"type": "image", "image": shown}, {"type": "text", "text": "the man"}]}
        (answer,) = ask(text=[turn], return_full_text=False, generate_kwargs={"max_new_tokens": 8, "do_sample": False})
        assert describer.sentence(picture(seed)) == answer["generated_text"].strip()
        said.add(answer["generated_text"])
    assert len(said) > 1


def test_without_a_chat_template_the_prompt_says_where_the_picture_is(tmp_path: Path) -> None:
    plain = tiny_llava(tmp_path / "plain", chat=False)
    words = Describer(plain, settings(prompt="user: <image> the man assistant:"), RUNTIME).sentence(picture(0))
    assert words
    assert "user" not in words
    with pytest.raises(SettingsError, match="does not take the prompt 'the man'"):
        Describer(plain, settings(prompt="the man"), RUNTIME)
    with pytest.raises(SettingsError, match="does not take the prompt None"):
        Describer(plain, settings(), RUNTIME)


def test_a_folder_without_safetensors_is_refused(blip: Path, tmp_path: Path) -> None:
    for path in blip.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not to be unpickled")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        Describer(tmp_path, settings(), RUNTIME)


def test_weights_that_are_not_whole_are_refused(blip: Path, tmp_path: Path) -> None:
    shutil.copytree(blip, tmp_path / "blip")
    file = tmp_path / "blip" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("patch_embedding.bias"))
    save_file({of: tensor for of, tensor in weights.items() if of != name}, file, metadata={"format": "pt"})
    with pytest.raises(SettingsError, match=f"missing: {name}$"):
        Describer(tmp_path / "blip", settings(), RUNTIME)
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(SettingsError, match="cannot be loaded"):
        Describer(tmp_path / "blip", settings(), RUNTIME)


@pytest.fixture(scope="module")
def served(blip: Path, tmp_path_factory: pytest.TempPathFactory) -> ActivityPipeline:
    config = TINY.model_copy(update={"captioner": settings(source=str(blip))})
    return ActivityPipeline.from_checkpoint(
        write_checkpoint(tmp_path_factory.mktemp("checkpoint"), config), runtime=RUNTIME
    )


MOVIE = render("mp4", Picture(num_frames=80, width=48, height=32, options=X264), Sound(seconds=3.2))
DESCRIBED = json.dumps({"extras": ["descriptions"], "threshold": 0.0})


def answer(served: ActivityPipeline, raw: dict[str, Any]) -> dict[str, Any]:
    (response,) = served.respond([raw], ["request"])
    assert response.status == 200, response.body
    values = json.loads(response.body)
    assert isinstance(values, dict)
    return values


def frame_at(seconds: float) -> NDArray[np.uint8]:
    """The frame that PyAV shows at a time, at its own size: ``(3, H, W)``."""
    with av.open(io.BytesIO(MOVIE), "r") as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    shown = next(image for time, image in reversed(frames) if time is not None and time <= seconds)
    return np.asarray(shown, dtype=np.uint8).transpose(2, 0, 1)


def test_each_segment_is_described_by_its_middle_frame(served: ActivityPipeline) -> None:
    assert served.describer is not None
    found = answer(served, {"video": MOVIE, "options": DESCRIBED})
    assert found["segments"]
    for segment in found["segments"]:
        middle = (segment["start_seconds"] + segment["stop_seconds"]) / 2
        assert segment["description"] == served.describer.sentence(frame_at(middle))
    plain = answer(served, {"video": MOVIE, "options": json.dumps({"threshold": 0.0})})
    assert plain["segments"] == [
        {key: value for key, value in segment.items() if key != "description"} for segment in found["segments"]
    ]
    assert "descriptions" not in served.respond([{"video": MOVIE}], ["plain"])[0].body.decode()


@pytest.mark.parametrize("answer_format", ["vtt", "srt"])
def test_cues_have_a_second_line(served: ActivityPipeline, answer_format: str) -> None:
    (described,) = answer(served, {"video": MOVIE, "options": DESCRIBED})["segments"]
    options = {"extras": ["descriptions"], "threshold": 0.0, "format": answer_format}
    (response,) = served.respond([{"video": MOVIE, "options": json.dumps(options)}], ["request"])
    first, second = response.body.decode().rstrip("\n").splitlines()[-2:]
    assert first.startswith(described["label"])
    assert second == described["description"]


def test_the_picture_that_was_sent_is_described_where_there_is_no_video(served: ActivityPipeline) -> None:
    assert served.describer is not None
    segments = (Segment(0.0, 1.0, "stir", 0.5),)
    request = replace(make_request(audio=b"sound"), image=png(24, 16))
    (described,) = served.describer.describe(segments, partial(look_at, request, limits=Limits()))
    assert described.description
    unseen = partial(look_at, make_request(audio=b"sound"), limits=Limits())
    assert served.describer.describe(segments, unseen) == segments


@pytest.mark.parametrize("video", [b"broken", MOVIE[:400]])
def test_what_does_not_decode_has_no_description(served: ActivityPipeline, video: bytes) -> None:
    assert served.describer is not None
    segments = (Segment(0.0, 1.0, "stir", 0.5),)
    assert served.describer.describe(segments, partial(look_at, make_request(video=video), limits=Limits())) == segments


def test_of_many_segments_the_longest_are_described(blip: Path) -> None:
    describer = Describer(blip, settings(max_segments=2), RUNTIME)
    bounds = [(0.0, 0.4), (0.4, 1.4), (1.4, 1.8), (1.8, 2.8), (2.8, 3.2)]
    segments = [Segment(start, stop, "stir", 0.5) for start, stop in bounds]
    described = describer.describe(segments, partial(look_at, make_request(video=MOVIE), limits=Limits()))
    assert [segment.description is not None for segment in described] == [False, True, False, True, False]
    assert [replace(segment, description=None) for segment in described] == segments


def test_a_model_without_a_captioner_says_so() -> None:
    with pytest.raises(InvalidOptions, match="no captioner"):
        check_descriptions(RequestOptions(extras=("descriptions",)), TINY)
    check_descriptions(RequestOptions(extras=("windows",)), TINY)


ODD = 'a\n\n00:00 --> 00:01 <b> & "\x00\x1b[31m\u2028\ud800\u202e\ufffd\U0001f600 NaN\r\n1\n'


def test_odd_words_become_one_plain_line() -> None:
    assert one_line(ODD) == 'a 00:00 --> 00:01 <b> & " [31m \U0001f600 NaN 1'
    assert one_line("\n \t\x00") == ""
    assert len(one_line("word " * 10_000)) <= MAX_CHARACTERS


@pytest.mark.parametrize("answer_format", ["json", "vtt", "srt"])
def test_odd_words_break_no_format(
    served: ActivityPipeline, monkeypatch: pytest.MonkeyPatch, answer_format: Any
) -> None:
    assert served.describer is not None
    monkeypatch.setattr(served.describer, "_generate", lambda *_args, **_options: ODD)
    options = RequestOptions(extras=("descriptions",), threshold=0.0)
    (prediction,) = served.predict([ActivityRequest(video=MOVIE, audio=None, text=None, options=options)])
    body = render_prediction(prediction, answer_format).body.decode("utf-8")  # type: ignore[arg-type]  # no error
    if answer_format == "json":
        assert json.loads(body)["segments"][0]["description"] == one_line(ODD)
        return
    (line,) = [line for line in body.splitlines() if line.startswith("a 00:00")]
    assert "-->" not in line
    assert body.count("-->") == 1  # the cue's own
    assert ("&lt;b&gt; &amp;" in line) == (answer_format == "vtt")
