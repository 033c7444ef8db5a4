from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.app import app
from cli.explain_tracks import attention_over_time, boxes
from handler.windows import Span
from models.checkpoint import save_checkpoint
from models.config import ModelConfig
from models.fusion_config import LateConfig
from tests.handler.requests import tiny_checkpoint
from tests.media import Picture, Sound, render
from tests.models.tiny import TINY

CHROMIUM = shutil.which("chromium")
WORDS = "WEBVTT\n\n00:00.000 --> 00:01.500\nstir <the> soup\n\n00:01.500 --> 00:04.000\nchop the onion & pour\n"

Page = Callable[..., str]


def save(folder: Path, config: ModelConfig) -> Path:
    checkpoint = tiny_checkpoint(config)
    save_checkpoint(folder, checkpoint.description, checkpoint.model, checkpoint.tokenizer)
    return folder


def explain(folder: Path, config: ModelConfig, clip: bytes, *arguments: str) -> str:
    path = folder / "a <clip>.mp4"
    path.write_bytes(clip)
    page = folder / "pages" / "report.html"
    checkpoint = str(save(folder / "model", config))
    command = ["explain", str(path), "--checkpoint", checkpoint, "-o", str(page), *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    words = folder / "words.vtt"
    words.write_text(WORDS, encoding="utf-8")
    clip = render("mp4", Picture(num_frames=90), Sound(seconds=3.6))
    return explain(folder, TINY, clip, "--text", str(words), "--options", '{"threshold": 0}')


def test_it_shows_everything_from_the_clip_to_the_attention(page: str) -> None:
    titles = re.findall(r"<h[23]>(.*?)</h[23]>", page)
    assert titles[:10] == [
        "Frames, as the model sees them",
        "Waveform",
        "Log-mel, low frequencies below",
        "Words",
        "Segments",
        "Scores of each window, before smoothing",
        "Scores after smoothing",
        "What each modality contributed to a window&#x27;s label",
        "Which 0.5 s weighed most (dark), each modality on its own scale",
        "Attention between the modalities",
    ]
    assert page.count("takes from") >= 6
    assert {"video", "audio", "text"} <= set(re.findall(r"<tr><td>(\w+)</td>", page))


def test_it_needs_nothing_but_itself(page: str) -> None:
    assert "<script" not in page
    assert "http" not in page
    assert set(re.findall(r'(?:src|href)="([^:]*):', page)) == {"data"}
    assert len(page) < 1_000_000


def test_what_a_client_names_is_no_markup(page: str) -> None:
    assert "a &lt;clip&gt;.mp4" in page
    assert "<clip>" not in page
    assert "onion &amp; pour" in page


def test_a_sound_alone_in_a_model_without_cross_attention(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"fusion": LateConfig(heads=2)})
    page = explain(tmp_path, config, render("wav", Sound(codec="pcm_s16le", seconds=1.2)))
    assert "Waveform" in page
    assert "Frames, as" not in page
    assert "Attention between" not in page


@pytest.mark.parametrize("given", ["clip", "link", "audio", "part"])
def test_the_page_is_not_written_over_what_it_explains(tmp_path: Path, given: str) -> None:
    clip, link, other = tmp_path / "clip.mp4", tmp_path / "link.mp4", tmp_path / "other"
    clip.write_bytes(b"the only copy")
    other.write_bytes(b"the only copy")
    link.symlink_to(clip)
    output = {"clip": clip, "link": link}.get(given, other)
    named = {"audio": ["--audio", str(other)], "part": ["--part", f"imu={other}"]}.get(given, [])
    result = CliRunner().invoke(app, ["explain", str(clip), *named, "-o", str(output)])
    assert result.exit_code == 2
    assert clip.read_bytes() == other.read_bytes() == b"the only copy"


@pytest.mark.parametrize("extras", ["null", "5", '"windows"'])
def test_extras_that_are_no_list_are_said(tmp_path: Path, extras: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"never read")
    command = ["explain", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "page.html")]
    result = CliRunner().invoke(app, [*command, "--options", f'{{"extras": {extras}}}'])
    assert result.exit_code == 2
    assert "must be a list" in result.stderr


def test_a_clip_whose_name_is_no_utf_8_is_explained(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    path.write_bytes(render("wav", Sound(codec="pcm_s16le", seconds=1.2)))
    output = tmp_path / "page.html"
    command = ["explain", str(path), "--checkpoint", str(save(tmp_path / "m", TINY)), "-o", str(output)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert "caf\\udce9.wav" in output.read_text(encoding="utf-8")


def test_a_broken_clip_is_said(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no clip at all")
    result = CliRunner().invoke(app, ["explain", str(path), "--checkpoint", str(save(tmp_path / "m", TINY))])
    assert type(result.exception).__name__ == "CommandError"
    assert not Path("report.html").exists()


def test_attention_of_windows_lies_on_the_clips_axis() -> None:
    spans = [Span(1.0, 2.0), Span(1.5, 2.5)]
    weights = [np.full((2, 2), 0.5, np.float32), np.array([[0.1, 0.9], [0.4, 0.6]], np.float32)]
    found = attention_over_time(spans, weights, Span(1.0, 2.5), 0.5)
    np.testing.assert_allclose(found, [[0.5, 0.5, 0], [0.5, 0.3, 0.9], [0, 0.4, 0.6]], atol=1e-6)


def test_a_box_stands_at_its_time_and_inside_the_page() -> None:
    drawn = boxes([(Span(-1.0, 2.0), "a", "red"), (Span(2.0, 9.0), "b", "red")], Span(0.0, 4.0))
    assert re.findall(r"left:(.*?)%;width:(.*?)%", drawn) == [("0.00", "50.00"), ("50.00", "50.00")]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_wide_and_narrow(page: str, width: int, tmp_path: Path) -> None:
    """Nothing is wider than the window, and the picture is not blank."""
    probe = "<script>parent.document.title = document.documentElement.scrollWidth</script>"
    framed = tmp_path / "framed.html"  # a window cannot be made as narrow as a frame
    frame = f'<iframe width="{width}" frameborder="0" srcdoc="{escape(page + probe)}"></iframe>'
    framed.write_text(f"<title></title>{frame}", encoding="utf-8")
    assert f"<title>{width}</title>" in browse(framed, tmp_path / "profile", width, "--dump-dom")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    picture = tmp_path / "page.png"
    browse(tmp_path / "page.html", tmp_path / "profile", width, f"--screenshot={picture}")
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == width
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def browse(page: Path, profile: Path, width: int, action: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    command = [str(CHROMIUM), *flags, f"--window-size={width},1600", action, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
