"""What a pretrained picture encoder is fed while a request is decoded, and how often it looks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from transformers import AutoImageProcessor

from handler.clip import Clip
from handler.container import open_container
from handler.decode import decode_request
from handler.inference import Scorer
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.runtime import Runtime
from handler.transform import Transforms
from handler.video import decode_frames
from models.config import ModelConfig
from models.encoder_config import ImageConfig
from models.model import build_model
from models.pretrained.pictures import build_geometry
from models.pretrained.weights import quiet_transformers
from tests.handler.requests import make_request
from tests.media import X264, Picture, render, with_display_matrix
from tests.models.pretrained.pictures import model_config, picture
from tests.pretrained_factory import tiny_clip

CPU = Runtime(torch.device("cpu"), torch.float32, threads=1)
LIMITS = Limits()
SECONDS, RATE = 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def config(folder: Path) -> ModelConfig:
    return model_config(folder, "video", "image", frames_per_hop=2)


def processed(folder: Path, frames: list[NDArray[np.uint8]]) -> Tensor:
    """What the library's own processor gives: ``(T, 3, 32, 32)``."""
    with quiet_transformers():
        processor = AutoImageProcessor.from_pretrained(folder)
    pixels: Tensor = processor(frames, input_data_format="channels_first", return_tensors="pt")["pixel_values"]
    return pixels


def coded(image: Image.Image, form: str, orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    target = io.BytesIO()
    image.save(target, form, exif=exif, **({"quality": 100, "subsampling": 0} if form == "JPEG" else {}))
    return target.getvalue()


def decoded(config: ModelConfig, **parts: Any) -> Clip:
    image = parts.pop("image", None)
    request = make_request(**parts)
    whole = ActivityRequest(**{**vars(request), "image": image})
    return decode_request(whole, config, LIMITS)


def fed_image(config: ModelConfig, data: bytes) -> Tensor:
    clip = decoded(config, image=data)
    assert clip.image is not None
    (pixels,) = Transforms(config, None).prepare("image", torch.from_numpy(clip.image)[None])
    return pixels


@pytest.mark.parametrize("size", [(48, 64), (65, 47), (20, 24)], ids=str)
def test_a_picture_is_fed_as_its_processor_would(config: ModelConfig, folder: Path, size: tuple[int, int]) -> None:
    image = Image.fromarray(picture(*size).transpose(1, 2, 0))
    expected = processed(folder, [np.array(image).transpose(2, 0, 1)])
    torch.testing.assert_close(fed_image(config, coded(image, "PNG")), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_is_upright_before_it_is_cropped(config: ModelConfig, folder: Path, orientation: int) -> None:
    # 73 columns when scaled: the middle 32 of them are not those of the picture turned round.
    data = coded(Image.fromarray(picture(40, 92).transpose(1, 2, 0)), "JPEG", orientation)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = processed(folder, [np.array(turned).transpose(2, 0, 1)])
    torch.testing.assert_close(fed_image(config, data), expected, atol=0.1, rtol=0.0)  # two decoders of JPEG


def lossless(frames: list[NDArray[np.uint8]]) -> bytes:
    """Frames ``(3, H, W)``, ``RATE`` a second, coded without loss."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = frames[0].shape[1:]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            rgb = np.ascontiguousarray(frame.transpose(1, 2, 0))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def test_a_clip_s_frames_are_fed_as_the_processor_would(config: ModelConfig, folder: Path) -> None:
    frames = [picture(47, 81, seed=number) for number in range(SECONDS * RATE)]
    clip = decoded(config, video=lossless(frames))
    assert clip.frames is not None
    (fed,) = Transforms(config, None).prepare("video", torch.from_numpy(clip.frames))
    shown = [frames[min(len(frames) - 1, int(time * RATE + 1e-6))] for time in clip.schedule.frame_times(2).ravel()]
    expected = processed(folder, shown).view(len(fed), 2, 3, 32, 32).transpose(1, 2)
    torch.testing.assert_close(fed, expected, atol=1e-5, rtol=0.0)


def test_a_turned_film_is_upright_before_it_is_cropped(config: ModelConfig) -> None:
    film = render("mp4", Picture(codec="libx264", options=X264, width=96, height=48, num_frames=2))
    seen: list[tuple[int, ...]] = []
    assert config.video is not None
    assert config.video.pretrained is not None
    geometry = build_geometry(config.video.pretrained)

    def noted(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(frame.shape)
        return geometry(frame)

    for data in (film, with_display_matrix(film, (0, 1, -1, 0))):
        with open_container(data, LIMITS) as container:
            frames = decode_frames(container, np.zeros(3), 32, LIMITS, noted)
        assert frames.shape == (3, 3, 32, 32)
    assert seen == [(3, 48, 96), (3, 96, 48)]  # a frame that is wanted three times is scaled once


def test_each_moment_is_looked_at_once(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = decoded(config, video=lossless([picture(32, 32, seed=number) for number in range(SECONDS * RATE)]))
    model = build_model(config)
    looked: list[int] = []
    encoder: Any = model.encoders["video"]
    backbone = encoder.backbone.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        looked.append(len(named["pixel_values"]))
        return backbone(*arguments, **named)

    monkeypatch.setattr(encoder.backbone, "forward", counted)
    Scorer(model, Transforms(config, None), CPU).score(clip)
    schedule = clip.schedule
    assert schedule.num_hops == SECONDS * 2
    assert schedule.num_windows * schedule.window_hops > schedule.num_hops + 5
    padded = -(-schedule.num_hops // 8) * 8  # micro-batches are always full
    assert sum(looked) == 2 * padded


def test_a_configuration_without_its_own_size_is_no_model(config: ModelConfig) -> None:
    assert isinstance(config.image, ImageConfig)
    assert config.image.size == 32
    assert config.image.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
