"""Sound as one mono waveform on the clip's timeline."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from handler import audio
from handler.audio import decode_waveform
from handler.clip import Waveform
from handler.container import open_container
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from tests.media import X264, Picture, Sound, overwrite, real_media, render

LIMITS = Limits()
RATE = 16_000

LOSSLESS = {
    "wav 16 bit": ("wav", Sound(codec="pcm_s16le")),
    "wav 8 bit": ("wav", Sound(codec="pcm_u8")),
    "wav 24 bit": ("wav", Sound(codec="pcm_s24le")),
    "wav 32 bit": ("wav", Sound(codec="pcm_s32le")),
    "wav float": ("wav", Sound(codec="pcm_f32le")),
    "wav double": ("wav", Sound(codec="pcm_f64le")),
    "wav 48 kHz": ("wav", Sound(codec="pcm_s16le", rate=48_000)),
    "wav odd rate": ("wav", Sound(codec="pcm_s16le", rate=44_101)),
    "aiff": ("aiff", Sound(codec="pcm_s16be", rate=8_000)),
    "flac 44.1 kHz": ("flac", Sound(codec="flac", rate=44_100)),
    "alac": ("mov", Sound(codec="alac", rate=44_100)),
    "flac in matroska": ("matroska", Sound(codec="flac", rate=48_000)),
}
LOSSY = {
    "mp3": ("mp3", Sound(codec="libmp3lame", rate=44_100, hertz=110.0)),
    "mp3 16 kHz": ("mp3", Sound(codec="libmp3lame", hertz=110.0)),
    "opus": ("ogg", Sound(codec="libopus", rate=48_000, hertz=110.0)),
    "opus in webm": ("webm", Sound(codec="libopus", rate=48_000, hertz=110.0)),
    "aac": ("mp4", Sound(rate=44_100, hertz=110.0)),
    "aac in matroska": ("matroska", Sound(rate=48_000, hertz=110.0)),
    "ac3": ("matroska", Sound(codec="ac3", rate=48_000, hertz=110.0)),
}


def decode(data: bytes, limits: Limits = LIMITS, sample_rate: int = RATE) -> Waveform:
    with open_container(data, limits) as container:
        return decode_waveform(container, sample_rate, limits)


def true_sine(waveform: Waveform, hertz: float) -> NDArray[np.float64]:
    times = waveform.start_seconds + np.arange(len(waveform.samples)) / waveform.sample_rate
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * times))


def lag_seconds(waveform: Waveform, hertz: float) -> float:
    """How much later than asked for the sine comes, within half a period; read from its middle."""
    times = waveform.start_seconds + np.arange(len(waveform.samples)) / waveform.sample_rate
    middle = (times > 0.4) & (times < 1.2)
    phasor = (waveform.samples[middle] * np.exp(-2j * np.pi * hertz * times[middle])).mean()
    return float(-(np.angle(phasor) + np.pi / 2) / (2 * np.pi * hertz))


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_sound_is_true_to_the_sample(name: str) -> None:
    container, sound = LOSSLESS[name]
    waveform = decode(render(container, sound))
    assert waveform.sample_rate == RATE
    assert waveform.start_seconds == 0.0
    assert len(waveform.samples) == pytest.approx(1.6 * RATE, abs=2)
    inner = slice(200, len(waveform.samples) - 200)  # the resampler's filter sees silence beyond both ends
    tolerance = 0.006 if name == "wav 8 bit" else 0.001
    assert np.abs(waveform.samples - true_sine(waveform, sound.hertz))[inner].max() < tolerance


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_sound_is_true_to_a_tenth_of_a_millisecond(name: str) -> None:
    container, sound = LOSSY[name]
    waveform = decode(render(container, sound))
    assert waveform.start_seconds == pytest.approx(0.0, abs=0.001)
    assert waveform.duration_seconds == pytest.approx(1.6, abs=0.006)
    assert abs(lag_seconds(waveform, 110.0)) < 1e-4


def test_sound_beside_a_picture() -> None:
    waveform = decode(render("mp4", Picture(options=X264), Sound(rate=48_000, hertz=110.0)))
    assert abs(lag_seconds(waveform, 110.0)) < 1e-4


def test_the_mean_of_the_channels() -> None:
    waveform = decode(render("wav", Sound(codec="pcm_f32le", channels=2)))
    expected = (true_sine(waveform, 440.0) + true_sine(waveform, 880.0)) / 2
    assert np.abs(waveform.samples - expected).max() < 1e-6


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])  # packed and planar
def test_six_channels(codec: str) -> None:
    container = "wav" if codec == "pcm_s16le" else "flac"
    waveform = decode(render(container, Sound(codec=codec, channels=6, hertz=50.0)))
    expected = sum(true_sine(waveform, 50.0 * 2**octave) for octave in range(6)) / 6
    assert np.abs(waveform.samples - expected).max() < 1e-4


@pytest.mark.parametrize("form", ["fltp", "s16p", "s16"])
def test_eight_channels_are_eight(form: str) -> None:
    frame = av.AudioFrame(format=form, layout="7.1", samples=512)
    whole = np.arange(8 * 512, dtype=np.float32 if form == "fltp" else np.int16)
    rows = [whole] if form == "s16" else np.split(whole, 8)
    for place, row in enumerate(rows):
        frame.planes[place].update(row.tobytes() + bytes(frame.planes[place].buffer_size - row.nbytes))
    samples = audio.read_samples(frame)  # of a ninth plane, which PyAV makes up, the process would die
    assert np.array_equal(samples, whole.reshape(512, 8).T if form == "s16" else whole.reshape(8, 512))


def test_channels_are_counted_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = audio.read_samples
    seen: list[int] = []

    def noted(frame: av.AudioFrame) -> NDArray[np.generic]:
        seen.append(frame.layout.nb_channels)
        return read(frame)

    monkeypatch.setattr(audio, "read_samples", noted)
    stereo, six = (render("adts", Sound(channels=channels, rate=48_000)) for channels in (2, 6))
    with pytest.raises(LimitExceeded, match="the sound has 6 channels, the limit is 2"):
        decode(stereo + six, Limits(max_channels=2))
    assert set(seen) == {2}


def blocks(*starts_ms: int) -> Waveform:
    """Blocks of 100 ms of sound that begin at these times."""
    sound = Sound(codec="pcm_f32le", seconds=len(starts_ms) / 10, hertz=50.0, pts_ms=starts_ms)  # whole periods
    return decode(render("matroska", sound))


def test_a_later_start() -> None:
    waveform = blocks(2_500, 2_600)
    assert waveform.start_seconds == 2.5
    assert len(waveform.samples) == 0.2 * RATE


def test_a_gap_is_silence() -> None:
    waveform = blocks(0, 100, 500, 600)
    assert len(waveform.samples) == 0.7 * RATE
    sound = np.abs(waveform.samples) > 0
    assert not sound[3_200:8_000].any()
    expected = true_sine(waveform, 50.0)
    for part in (slice(0, 3_200), slice(8_000, 11_200)):
        assert np.abs(waveform.samples - expected)[part].max() < 1e-6


def test_an_overlap_is_cut() -> None:
    waveform = blocks(0, 60, 160)  # the second block begins within the first, and is a whole period late there
    assert len(waveform.samples) == 0.26 * RATE
    assert np.abs(waveform.samples - true_sine(waveform, 50.0)).max() < 1e-6


def test_timestamps_that_are_rounded_leave_the_sound_whole() -> None:
    waveform = blocks(0, 101, 199, 301, 400)
    assert len(waveform.samples) == 0.5 * RATE
    assert np.abs(waveform.samples - true_sine(waveform, 50.0)).max() < 1e-6


@pytest.mark.parametrize(
    ("codec", "value", "expected"),
    [
        ("pcm_f32le", struct.pack("<f", float("nan")), 0.0),
        ("pcm_f32le", struct.pack("<f", float("-inf")), 0.0),
        ("pcm_f32le", struct.pack("<f", 7.5), 1.0),
        ("pcm_f64le", struct.pack("<d", float("inf")), 0.0),
        ("pcm_f64le", struct.pack("<d", -1e300), -1.0),
    ],
)
def test_samples_are_finite_and_in_range(codec: str, value: bytes, expected: float) -> None:
    data = render("wav", Sound(codec=codec))
    data = overwrite(data, b"data", 4 + 100 * len(value), value)
    samples = decode(data).samples
    assert samples[100] == expected
    assert np.abs(samples[:100]).max() <= 0.5
    assert np.isfinite(decode(data, sample_rate=22_050).samples).all()


def test_overshoot_of_the_resampler_is_clipped() -> None:
    data = bytearray(render("wav", Sound(codec="pcm_s16le", rate=48_000)))
    start = data.index(b"data") + 8
    square = np.where(np.arange((len(data) - start) // 2) % 96 < 48, 32_767, -32_768).astype("<i2")
    data[start : start + 2 * len(square)] = square.tobytes()
    samples = decode(bytes(data)).samples
    assert samples.max() == 1.0
    assert samples.min() == -1.0


def test_a_change_of_the_sample_rate_in_mid_file() -> None:
    first = render("mp3", Sound(codec="libmp3lame", rate=44_100, seconds=1.0, hertz=110.0))
    second = render("mp3", Sound(codec="libmp3lame", rate=24_000, seconds=1.0, hertz=110.0))
    waveform = decode(first + second)
    assert waveform.duration_seconds == pytest.approx(2.1, abs=0.15)
    for start in (4_000, 26_000):  # well inside each part
        spectrum = np.abs(np.fft.rfft(waveform.samples[start : start + 3_200] * np.hanning(3_200)))
        assert np.argmax(spectrum) * RATE / 3_200 == pytest.approx(110.0, abs=5.0)


def test_endless_changes_of_the_sample_rate_are_refused() -> None:
    parts = [render("mp3", Sound(codec="libmp3lame", rate=rate, seconds=0.2)) for rate in (44_100, 24_000)]
    with pytest.raises(UndecodableMedia, match="the sound changes its format more than 16 times"):
        decode(b"".join(parts * 12))


@pytest.mark.parametrize("rate", [8, 3_999, 192_001, 4_000_000])
def test_sample_rates_out_of_bounds(rate: int) -> None:
    data = overwrite(render("wav", Sound(codec="pcm_s16le")), b"fmt ", 8, struct.pack("<I", rate))
    with pytest.raises(LimitExceeded) as caught:
        decode(data, Limits(max_duration_seconds=1e5))
    assert caught.value.message == f"the sample rate is {rate} Hz, allowed are 4000 to 192000 Hz"


def test_too_many_channels() -> None:
    with pytest.raises(LimitExceeded, match="the sound has 6 channels, the limit is 2"):
        decode(render("wav", Sound(codec="pcm_s16le", channels=6)), Limits(max_channels=2))


def test_what_decodes_counts_against_the_limit_on_seconds() -> None:
    with (
        open_container(render("ogg", Sound(codec="libopus", rate=48_000)), LIMITS) as container,
        pytest.raises(LimitExceeded, match=r"the clip lasts 1\.0\d+ s or more, the limit is 1 s"),
    ):
        decode_waveform(container, RATE, Limits(max_duration_seconds=1.0))


def test_overlaps_count_against_the_limit_on_seconds() -> None:
    """Packets without number that all say the same time would else be decoded to the last."""
    data = render("matroska", Sound(codec="pcm_s16le", seconds=3.0, pts_ms=(0,) * 30))
    with (
        open_container(data, LIMITS) as container,
        pytest.raises(LimitExceeded, match=r"the clip lasts 2\.100 s or more, the limit is 2 s"),
    ):
        decode_waveform(container, RATE, Limits(max_duration_seconds=2.0))


def test_runs_count_together_against_the_limit_on_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_container(render("wav", Sound(codec="pcm_s16le", seconds=0.9)), LIMITS) as container:
        stream = container.audio
        assert stream is not None
        frames = list(audio._decode_all(stream))
        for frame in frames:
            frame.pts = 0
        faster = [av.AudioFrame.from_ndarray(frame.to_ndarray(), format="s16", layout="mono") for frame in frames]
        for frame in faster:
            frame.sample_rate, frame.pts = RATE // 2, 0
        monkeypatch.setattr(audio, "_decode_all", lambda _: iter((*frames, *faster)))
        with pytest.raises(LimitExceeded, match=r"or more, the limit is 2 s"):
            decode_waveform(container, RATE, Limits(max_duration_seconds=2.0))


def test_the_same_bytes_give_the_same_samples() -> None:
    data = render("mp4", Sound(rate=44_100))
    assert np.array_equal(decode(data).samples, decode(data).samples)


def test_a_codec_that_is_not_allowed() -> None:
    with pytest.raises(UnsupportedMedia, match="the sound's codec tta is not one of those allowed: aac, "):
        decode(render("matroska", Sound(codec="tta")))


def test_a_file_without_sound() -> None:
    with pytest.raises(UnsupportedMedia, match="the file has no sound"):
        decode(render("mp4", Picture(options=X264)))


def test_a_sound_of_which_nothing_decodes() -> None:
    data = render("mp4", Sound())
    start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
    with pytest.raises(UndecodableMedia, match=r"no sample came out of \d+ packets of codec aac"):
        decode(data[:start] + b"\xff" * (stop - start) + data[stop:])


def test_a_damaged_packet_is_silence() -> None:
    data = render("matroska", Sound(codec="flac"))
    with open_container(data, LIMITS) as container:
        assert container.audio is not None
        packets = container.audio.packets
        packet = bytes(packets.items[4])
        start, stop = (round(seconds * RATE) for seconds in packets.seconds(packets.pts[4:6]))
    whole, damaged = decode(data), decode(data.replace(packet, bytes(len(packet))))
    assert len(damaged.samples) == len(whole.samples)
    assert not damaged.samples[start + 16 : stop - 16].any()  # Matroska rounds times to 16 samples
    assert np.array_equal(damaged.samples[: start - 16], whole.samples[: start - 16])
    assert np.array_equal(damaged.samples[stop + 16 :], whole.samples[stop + 16 :])


def test_media_need_no_torch() -> None:
    code = "import sys, handler.audio, handler.video, handler.text; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(not real_media(), reason="no shared media folder")
def test_real_files_decode_or_say_why() -> None:
    outcomes = {path.name: outcome(path) for path in real_media()}
    assert set(outcomes.values()) <= {"sound", "no sound", 413, 415, 422}
    assert list(outcomes.values()).count("sound") >= 20


def outcome(path: Path) -> str | int:
    try:
        with open_container(path.read_bytes(), LIMITS) as container:
            if container.audio is None:
                return "no sound"
            waveform = decode_waveform(container, RATE, LIMITS)
    except ActivityError as error:
        return error.status
    return "sound" if len(waveform.samples) and np.isfinite(waveform.samples).all() else "nothing"
