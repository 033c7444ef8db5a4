from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler.clip import Clip, Waveform
from handler.decode import cut_samples
from handler.transform import LOG_FLOOR, MAX_DEVIATIONS, Transforms
from handler.windows import Span, build_schedule
from models.config import ModelConfig
from models.encoder_config import AudioConfig, DepthConfig, ImageConfig, NumericColumn, TabularConfig, VectorConfig
from models.model import build_model
from tests.models.tiny import TINY, tiny_tokenizer

AUDIO = AudioConfig(n_mels=32)
CONFIG = ModelConfig(labels=("a", "b"), audio=AUDIO, video=None, text=None)


def slaney_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: 15 mel to 1000 Hz in a line, then 27 to the factor 6.4."""
    above = 15 + 27 * np.log(np.maximum(hertz, 1000.0) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, above)


def slaney_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def slaney_filters(config: AudioConfig) -> NDArray[np.float64]:
    """``(n_mels, n_fft / 2 + 1)``: triangles of area 1 over the frequency in Hz."""
    nyquist = np.array(config.sample_rate / 2)
    corners = slaney_hertz(np.linspace(0, float(slaney_mel(nyquist)), config.n_mels + 2))
    bins = np.arange(config.n_fft // 2 + 1) * config.sample_rate / config.n_fft
    filters = np.zeros((config.n_mels, len(bins)))
    for band in range(config.n_mels):
        low, middle, high = corners[band : band + 3]
        triangle = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
        filters[band] = np.maximum(triangle, 0) * 2 / (high - low)
    return filters


def reference_log_mel(samples: NDArray[np.float32], config: AudioConfig) -> NDArray[np.float64]:
    """``(n_mels, M)`` by the definition, frame by frame, in float64: no padding, frame m begins at m * hop_length."""
    places = np.arange(config.n_fft)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * places / config.n_fft)  # periodic
    waves = np.exp(-2j * np.pi * np.outer(np.arange(config.n_fft // 2 + 1), places) / config.n_fft)
    filters = slaney_filters(config)
    columns = []
    for start in range(0, len(samples) - config.n_fft + 1, config.hop_length):
        spectrum = waves @ (samples[start : start + config.n_fft].astype(np.float64) * hann)
        columns.append(np.log(np.maximum(filters @ np.abs(spectrum) ** 2, LOG_FLOOR)))
    return (np.stack(columns, axis=1) - config.mean) / config.std


def noise(num_samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise with a tone, quiet in its second half so that some bins fall to the floor."""
    rng = np.random.default_rng(seed)
    samples = 0.1 * rng.standard_normal(num_samples) + 0.3 * np.sin(np.arange(num_samples) * 0.3)
    samples[num_samples // 2 :] *= 1e-4
    return np.asarray(samples, dtype=np.float32)


def test_log_mel_is_that_of_the_definition() -> None:
    samples = noise(8240)
    log_mel = Transforms(CONFIG, None).audio(torch.from_numpy(samples)[None])
    assert log_mel.shape == (1, 32, 50)
    expected = reference_log_mel(samples, AUDIO)
    floor = (np.log(LOG_FLOOR) - AUDIO.mean) / AUDIO.std
    assert (expected == floor).any()
    assert (expected > floor).mean() > 0.5
    np.testing.assert_allclose(log_mel[0].numpy(), expected, atol=1e-4, rtol=0)


def test_silence_lies_on_the_floor() -> None:
    log_mel = Transforms(CONFIG, None).audio(torch.zeros(1, 8240))
    assert log_mel.unique().tolist() == pytest.approx([(np.log(1e-6) + 9.0) / 3.0])


def test_the_hops_log_mels_side_by_side_are_that_of_the_whole_waveform() -> None:
    samples = noise(4 * 8000)
    schedule = build_schedule(Span(0.0, 2.0), CONFIG.windows)
    hops = cut_samples(Waveform(samples, 16_000, 0.0), schedule, AUDIO)
    log_mel = Transforms(CONFIG, None).audio(torch.from_numpy(hops))
    assert log_mel.shape == (4, 32, 50)
    whole = Transforms(CONFIG, None).audio(torch.from_numpy(np.pad(samples, 120))[None])[0]
    assert whole.shape == (32, 200)
    joined = log_mel.transpose(0, 1).reshape(32, 200)
    np.testing.assert_allclose(joined.numpy(), whole.numpy(), atol=1e-5, rtol=0)


def test_video_is_normalised_and_its_channels_come_first() -> None:
    frames = torch.zeros(2, 2, 3, 16, 16, dtype=torch.uint8)
    frames[1, 0, 1] = 255
    frames[1, 1, 2, 5, 7] = 128
    video = Transforms(TINY, tiny_tokenizer()).video(frames)
    assert video.shape == (2, 3, 2, 16, 16)
    assert video.dtype == torch.float32
    assert video[0].unique().tolist() == [-2.0]
    assert video[1, 1, 0].unique().tolist() == [2.0]
    assert video[1, 2, 1, 5, 7].item() == pytest.approx((128 / 255 - 0.5) / 0.25, abs=1e-6)
    assert video[1, 2, 1, 7, 5].item() == -2.0


def test_text_becomes_ids_of_a_fixed_length() -> None:
    transforms = Transforms(TINY, tiny_tokenizer())
    token_ids, token_mask = transforms.text(["stir", "stir the soup " * 4])
    assert token_ids.shape == token_mask.shape == (2, 8)
    assert token_mask[1].all()
    assert not token_mask[0].all()


def test_what_the_model_has_not_cannot_be_transformed() -> None:
    transforms = Transforms(CONFIG, None)
    with pytest.raises(ValueError, match="no video"):
        transforms.video(torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no text"):
        transforms.text(["stir"])
    text_only = Transforms(TINY.model_copy(update={"audio": None}), tiny_tokenizer())
    with pytest.raises(ValueError, match="no audio"):
        text_only.audio(torch.zeros(1, 8240))
    with pytest.raises(ValueError, match="needs its tokenizer"):
        Transforms(TINY, None)


SENSORS = ModelConfig(
    labels=("a", "b"),
    video=None,
    audio=None,
    text=None,
    image=ImageConfig(size=8),
    tabular=TabularConfig(
        numeric={"guests": NumericColumn(mean=100.0, std=50.0), "hour": NumericColumn()},
        categorical={"place": ("hall", "field")},
    ),
    depth=DepthConfig(size=16, patch_size=8, tubelet_frames=1, frames_per_hop=2),
    vectors={"imu": VectorConfig(channels=2, rate_hz=8, mean=(1.0, 2.0), std=(2.0, 4.0))},
)


def sensor_clip(names: tuple[str, ...] = SENSORS.modalities) -> Clip:
    rng = np.random.default_rng(0)
    return Clip(
        schedule=build_schedule(Span(0.0, 1.5), SENSORS.windows),
        modalities={},
        image=rng.integers(0, 256, (3, 8, 8), dtype=np.uint8),
        row={"guests": 150.0, "hour": None, "place": "field"},
        depth=rng.integers(0, 256, (3, 2, 1, 16, 16), dtype=np.uint8),
        vectors={"imu": rng.normal(size=(3, 4, 2)).astype(np.float32)},
        masks={name: np.ones(3, dtype=np.bool_) for name in names},
    )


def test_what_stands_on_every_hop_is_gathered_once() -> None:
    transforms, clip = Transforms(SENSORS, None), sensor_clip()
    for name in ("image", "tabular"):
        contents = transforms.gather(name, clip)
        assert [tensor.shape[0] for tensor in contents.tensors] == [1] * len(contents.tensors)
        assert contents.places.tolist() == [0, 0, 0]
    numbers, categories = transforms.gather("tabular", clip).tensors
    assert numbers.dtype == torch.float32
    assert numbers[0, 0].item() == 150.0
    assert numbers[0, 1].isnan()
    assert categories.tolist() == [[2]]


def test_what_has_times_is_gathered_hop_by_hop() -> None:
    transforms, clip = Transforms(SENSORS, None), sensor_clip()
    assert clip.depth is not None
    for name, content in (("depth", clip.depth), ("imu", clip.vectors["imu"])):
        contents = transforms.gather(name, clip)
        assert contents.tensors[0].numpy().tobytes() == content.tobytes()
        assert contents.places.tolist() == [0, 1, 2]


def test_each_different_text_is_gathered_once() -> None:
    transforms = Transforms(TINY, tiny_tokenizer())
    schedule = build_schedule(Span(0.0, 2.0), TINY.windows)
    texts = ("stir", "chop", "stir", "")
    clip = Clip(schedule=schedule, modalities={}, texts=texts, masks={"text": np.ones(4, dtype=np.bool_)})
    contents = transforms.gather("text", clip)
    assert contents.places.tolist() == [0, 1, 0, 2]
    for found, expected in zip(contents.tensors, transforms.text(["stir", "chop", ""]), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("config", [TINY, SENSORS])
def test_an_absent_modality_is_one_content_of_the_same_kind_that_all_hops_share(config: ModelConfig) -> None:
    transforms = Transforms(config, None if config.text is None else tiny_tokenizer())
    clip = Clip(schedule=build_schedule(Span(0.0, 1.5), config.windows), modalities={})
    model = build_model(config)
    for name in config.modalities:
        contents = transforms.gather(name, clip)
        assert contents.places.tolist() == [0, 0, 0]
        tokens = model.encode(name, *transforms.prepare(name, *contents.tensors))
        assert tokens.shape[0] == 1
        assert tokens.isfinite().all()
        if config is SENSORS:
            sent = transforms.gather(name, sensor_clip()).tensors
            assert [(tensor.dtype, tensor.shape[1:]) for tensor in contents.tensors] == [
                (tensor.dtype, tensor.shape[1:]) for tensor in sent
            ]


def test_a_row_is_normalised_and_what_is_missing_is_said() -> None:
    transforms = Transforms(SENSORS, None)
    numbers, present, categories = transforms.prepare("tabular", *transforms.gather("tabular", sensor_clip()).tensors)
    assert numbers.tolist() == [[1.0, 0.0]]
    assert present.tolist() == [[True, False]]
    assert categories.tolist() == [[2]]


@pytest.mark.parametrize(("place", "index"), [("hall", 1), ("field", 2), ("elsewhere", 0), (None, 0)])
def test_an_unknown_category_is_index_0(place: str | None, index: int) -> None:
    assert Transforms(SENSORS, None).row({"place": place})[1].tolist() == [[index]]
    assert Transforms(SENSORS, None).row({})[1].tolist() == [[0]]


def test_vectors_are_normalised_by_channel_once_the_statistics_are_known() -> None:
    rows = torch.tensor([[[3.0, 10.0]]])
    assert Transforms(SENSORS, None).vector("imu", rows).tolist() == [[[1.0, 2.0]]]
    imu = SENSORS.vectors["imu"].model_copy(update={"mean": None, "std": None})
    unlearned = SENSORS.model_copy(update={"vectors": {"imu": imu}})
    assert Transforms(unlearned, None).vector("imu", rows).equal(rows)
    assert Transforms(unlearned, None).vector("imu", rows * 1e30).abs().max() == MAX_DEVIATIONS


def test_depth_and_image_are_normalised_as_video_is() -> None:
    transforms, clip = Transforms(SENSORS, None), sensor_clip()
    (depth,) = transforms.prepare("depth", *transforms.gather("depth", clip).tensors)
    (image,) = transforms.prepare("image", *transforms.gather("image", clip).tensors)
    assert clip.depth is not None
    assert clip.image is not None
    np.testing.assert_allclose(depth.numpy(), (clip.depth / 255 - 0.5).swapaxes(1, 2) / 0.25, atol=1e-6)
    np.testing.assert_allclose(image.numpy(), (clip.image[None] / 255 - 0.5) / 0.25, atol=1e-6)


def test_a_mask_without_content_is_a_defect() -> None:
    clip = replace(sensor_clip(), image=None, row=None, depth=None, vectors={})
    for name in SENSORS.modalities:
        with pytest.raises(ValueError, match=f"a mask for {name} but no content"):
            Transforms(SENSORS, None).gather(name, clip)


@pytest.mark.parametrize("name", ["video", "audio", "text", "imu"])
def test_what_the_model_has_not_cannot_be_gathered(name: str) -> None:
    config = SENSORS.model_copy(update={"vectors": {}})
    clip = Clip(schedule=build_schedule(Span(0.0, 1.5), config.windows), modalities={})
    with pytest.raises(ValueError, match=f"this model has no {name}"):
        Transforms(config, None).gather(name, clip)
