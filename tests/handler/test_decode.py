from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handler import decode
from handler.clip import Clip, Cue, ModalityStatus, Waveform, Words
from handler.container import Container
from handler.decode import cut_samples, cut_words, decode_request
from handler.errors import ActivityError, LimitExceeded, NoUsableModality, UndecodableMedia, UnsupportedMedia
from handler.inference import gather_windows_mask
from handler.limits import Limits
from handler.windows import Span, build_schedule
from models.config import ModelConfig, WindowConfig
from models.encoder_config import AudioConfig, CropConfig
from models.pretrained.config import PretrainedConfig
from tests.handler.requests import make_request
from tests.media import X264, Picture, Sound, nearest_place, png, render, sine
from tests.models.tiny import TINY

LIMITS = Limits()
RATE = 16_000
HOP = 8_000  # samples of a hop of 0.5 s
CONTEXT = 120  # samples that a hop's spectrogram reaches to either side: (400 - 160) / 2
USED = ModalityStatus(used=True)
NOT_SENT = ModalityStatus(used=False, code="not_sent", reason="not sent")
NO_MEDIA = b"this is no media file, it only says so" * 20


def pcm(seconds: float = 2.0, start_ms: int = 0, hertz: float = 440.0) -> Sound:
    """Sound that comes out as it went in."""
    pts_ms = tuple(range(start_ms, start_ms + round(seconds * 1000), 100)) if start_ms else None
    return Sound(codec="pcm_f32le", rate=RATE, seconds=seconds, hertz=hertz, pts_ms=pts_ms)


def frames_at(*pts_ms: int) -> Picture:
    return Picture(num_frames=len(pts_ms), pts_ms=pts_ms, options=X264)


def steady(seconds: float, start_ms: int = 0) -> Picture:
    return frames_at(*range(start_ms, start_ms + round(seconds * 1000), 40))


@lru_cache(maxsize=1)
def clip_of_two_seconds() -> bytes:
    return render("mov", steady(2.0), pcm(2.0))


def wav(seconds: float = 2.0, hertz: float = 440.0) -> bytes:
    return render("wav", pcm(seconds, hertz=hertz))


def decoded(
    video: bytes | None = None,
    audio: bytes | None = None,
    text: bytes | str | None = None,
    config: ModelConfig = TINY,
    limits: Limits = LIMITS,
) -> Clip:
    return decode_request(make_request(video, audio, text), config, limits)


def refused(
    video: bytes | None = None,
    audio: bytes | None = None,
    text: bytes | str | None = None,
    config: ModelConfig = TINY,
    limits: Limits = LIMITS,
) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        decoded(video, audio, text, config, limits)
    return caught.value


def hops_of(sound: Sound, lead: int, num_hops: int) -> NDArray[np.float32]:
    """What the hops hold when the sound's sample 0 lies ``lead`` samples after the clip's start."""
    line = np.zeros(num_hops * HOP + 2 * CONTEXT, dtype=np.float32)
    samples = sine(sound)[0][: len(line) - CONTEXT - lead]
    line[CONTEXT + lead : CONTEXT + lead + len(samples)] = samples
    return np.stack([line[hop * HOP : (hop + 1) * HOP + 2 * CONTEXT] for hop in range(num_hops)])


def edges(span: Span) -> tuple[float, float]:
    return span.start_seconds, span.stop_seconds


def of(samples: NDArray[np.float32] | None) -> NDArray[np.float32]:
    assert samples is not None
    return samples


# Sound


def test_sound_comes_from_the_container() -> None:
    clip = decoded(clip_of_two_seconds())
    assert of(clip.samples).shape == (4, HOP + 2 * CONTEXT)
    np.testing.assert_array_equal(clip.samples, hops_of(pcm(2.0), 0, 4))
    assert clip.modalities == {"video": USED, "audio": USED, "text": NOT_SENT}


def test_the_audio_part_wins_over_the_sound_of_the_container() -> None:
    clip = decoded(clip_of_two_seconds(), wav(hertz=1000.0))
    np.testing.assert_array_equal(clip.samples, hops_of(pcm(2.0, hertz=1000.0), 0, 4))


def test_a_broken_audio_part_is_not_replaced_by_the_sound_of_the_container() -> None:
    clip = decoded(clip_of_two_seconds(), NO_MEDIA)
    assert clip.modalities["video"] == USED
    assert (clip.modalities["audio"].used, clip.modalities["audio"].code) == (False, "undecodable_media")
    assert clip.samples is None
    assert list(clip.masks) == ["video"]


@pytest.mark.parametrize("container", ["mov", "matroska"])
def test_sound_that_begins_after_the_picture_lands_on_its_sample(container: str) -> None:
    sound = pcm(1.7, start_ms=300)
    clip = decoded(render(container, steady(2.0), sound))
    assert clip.schedule.span.start_seconds == 0.0
    assert of(clip.samples)[0, CONTEXT + 4800 - 1] == 0.0
    assert of(clip.samples)[0, CONTEXT + 4800 + 1] == sine(sound)[0, 1] != 0.0
    np.testing.assert_array_equal(clip.samples, hops_of(sound, 4800, 4))


def test_sound_that_begins_before_the_picture_begins_the_clip() -> None:
    sound = pcm(2.0, start_ms=1000)
    clip = decoded(render("matroska", steady(1.2, start_ms=1700), sound))
    assert edges(clip.schedule.span) == pytest.approx((1.0, 3.0))
    np.testing.assert_array_equal(clip.samples, hops_of(sound, 0, 4))
    assert clip.masks["video"].tolist() == [False, True, True, True]  # centres 1.25, 1.75, ... from 1.7 on


def test_a_clip_that_starts_late_is_as_long_as_its_content() -> None:
    clip = decoded(render("matroska", steady(2.0, start_ms=5000), pcm(2.0, start_ms=5300)))
    assert edges(clip.schedule.span) == pytest.approx((5.0, 7.3))
    assert clip.schedule.num_hops == 5
    np.testing.assert_array_equal(clip.samples, hops_of(pcm(2.0), 4800, 5))
    assert clip.masks["video"].tolist() == [True, True, True, True, False]


def frames_of(clip: Clip) -> list[NDArray[np.uint8]]:
    assert clip.frames is not None
    return list(clip.frames.reshape(-1, *clip.frames.shape[2:]))


def test_hops_overlap_by_the_context_and_silence_stands_at_both_ends() -> None:
    schedule = build_schedule(Span(0.0, 1.0), WindowConfig())
    waveform = Waveform(np.arange(1, 16_001, dtype=np.float32), RATE, 0.0)
    hops = cut_samples(waveform, schedule, AudioConfig())
    assert hops.shape == (2, 8240)
    assert hops[0, :CONTEXT].tolist() == [0.0] * CONTEXT
    assert hops[0, CONTEXT:].tolist() == list(range(1, 8121))
    assert hops[1, : 8000 + CONTEXT].tolist() == list(range(7881, 16_001))
    assert hops[1, 8000 + CONTEXT :].tolist() == [0.0] * CONTEXT


def test_a_pretrained_encoders_hops_do_not_overlap() -> None:
    schedule = build_schedule(Span(0.0, 1.0), WindowConfig())
    waveform = Waveform(np.arange(1, 16_001, dtype=np.float32), RATE, 0.0)
    audio = AudioConfig(encoder="pretrained", pretrained=PretrainedConfig(source="a folder"))
    assert cut_samples(waveform, schedule, audio).tolist() == [list(range(1, 8001)), list(range(8001, 16_001))]


def test_hops_can_be_written_to_as_torch_expects() -> None:
    schedule = build_schedule(Span(0.0, 0.5), WindowConfig())  # of one hop the view is contiguous already
    assert cut_samples(Waveform(np.ones(9, dtype=np.float32), RATE, 0.0), schedule, AudioConfig()).flags.writeable


@pytest.mark.parametrize(("start", "first"), [(-0.25, 4001.0), (-3.0, 0.0), (3.0, 0.0), (0.0, 1.0)])
def test_sound_outside_the_schedule_is_left_out(start: float, first: float) -> None:
    schedule = build_schedule(Span(0.0, 1.0), WindowConfig())
    waveform = Waveform(np.arange(1, 16_001, dtype=np.float32), RATE, start)
    hops = cut_samples(waveform, schedule, AudioConfig())
    assert hops[0, CONTEXT] == first
    assert hops.any() == (first > 0)


# Picture


def test_frames_of_a_variable_rate_are_those_shown_at_each_time() -> None:
    pts_ms = (0, 100, 140, 600, 640, 1130, 1140, 1300, 1980)
    clip = decoded(render("matroska", frames_at(*pts_ms)))
    assert clip.schedule.num_hops == 4
    times = clip.schedule.frame_times(2).ravel() * 1000
    assert times.tolist() == [125, 375, 625, 875, 1125, 1375, 1625, 1875]
    assert [nearest_place(image) for image in frames_of(clip)] == [1, 2, 3, 4, 4, 7, 7, 7]


def test_frames_of_a_late_start_are_counted_from_the_clips_start() -> None:
    clip = decoded(render("matroska", steady(1.0, start_ms=3000)))
    assert clip.schedule.span.start_seconds == 3.0
    assert [nearest_place(image) for image in frames_of(clip)] == [3, 9, 15, 21]  # 125, 375, 625, 875 ms by 40


def test_a_crop_is_a_part_of_the_whole_picture_scaled() -> None:
    assert TINY.video is not None
    size = TINY.video.size
    crop = CropConfig(left=0.25, top=0.5, side=0.5)
    cropped = TINY.model_copy(update={"video": TINY.video.model_copy(update={"crop": crop})})
    whole = TINY.model_copy(update={"video": TINY.video.model_copy(update={"size": 2 * size})})
    frames, all_of_it = (decoded(clip_of_two_seconds(), config=config).frames for config in (cropped, whole))
    assert frames is not None
    assert all_of_it is not None
    expected = all_of_it[..., size : 2 * size, size // 2 : size // 2 + size]
    assert np.array_equal(frames, expected)
    assert not np.array_equal(frames, all_of_it[..., :size, :size])


def test_modalities_of_unequal_length_are_masked_hop_by_hop() -> None:
    clip = decoded(render("mov", steady(2.0), pcm(3.6)))
    assert clip.schedule.num_hops == 7
    assert clip.masks["video"].tolist() == [True] * 4 + [False] * 3
    assert clip.masks["audio"].tolist() == [True] * 7
    clip = decoded(render("mov", steady(3.6), pcm(2.0)))
    assert clip.schedule.num_hops == 7
    assert clip.masks["audio"].tolist() == [True] * 4 + [False] * 3
    assert clip.masks["video"].tolist() == [True] * 7
    assert not of(clip.samples)[5:].any()


def test_a_clip_shorter_than_a_window_has_one_whose_other_hops_are_masked() -> None:
    clip = decoded(render("mov", steady(0.8)))
    assert (clip.schedule.num_hops, clip.schedule.num_windows) == (2, 1)
    assert gather_windows_mask(clip).tolist() == [[True, True, False, False]]
    assert clip.frames is not None
    assert clip.frames.shape == (2, 2, 3, 16, 16)


def test_the_last_window_ends_with_the_clip() -> None:
    clip = decoded(audio=wav(2.3))
    assert (clip.schedule.num_hops, clip.schedule.num_windows) == (5, 2)
    assert edges(clip.schedule.window_span(1)) == pytest.approx((0.5, 2.3))


# Words

CUES = "WEBVTT\n\n00:00.400 --> 00:00.900\nstir\n\n00:00.600 --> 00:01.000\nthe soup\n\n00:01.500 --> 00:01.600\nstir\n"


def test_words_stand_on_the_hops_that_their_cues_overlap() -> None:
    clip = decoded(clip_of_two_seconds(), text=CUES)
    assert clip.texts == ("stir", "stir the soup", "", "stir")
    assert clip.masks["text"].tolist() == [True, True, False, True]


def test_words_without_times_stand_on_every_hop() -> None:
    clip = decoded(clip_of_two_seconds(), text=b"chop the onion")
    assert clip.texts == ("chop the onion",) * 4
    assert clip.masks["text"].all()


def test_timed_words_alone_make_a_clip_of_their_cues() -> None:
    clip = decoded(text="WEBVTT\n\n01:00.000 --> 01:01.000\nstir\n\n01:02.000 --> 01:03.500\nchop\n")
    assert clip.schedule.span == Span(60.0, 63.5)
    assert clip.texts == ("stir", "stir", "", "", "chop", "chop", "chop")
    assert clip.modalities["video"] == clip.modalities["audio"] == NOT_SENT
    assert clip.modalities["text"] == USED


def test_untimed_words_alone_make_one_window() -> None:
    clip = decoded(text="stir the soup")
    assert clip.schedule.span == Span(0.0, 2.0)
    assert clip.schedule.num_windows == 1
    assert clip.texts == ("stir the soup",) * 4


def test_cues_outside_the_clip_are_not_used_and_do_not_stretch_it() -> None:
    clip = decoded(clip_of_two_seconds(), text="WEBVTT\n\n9000:00:00.000 --> 9000:00:05.000\nstir\n")
    assert clip.schedule.num_hops == 4
    assert clip.texts is None
    assert clip.modalities["text"] == ModalityStatus(False, "not_sent", "no cue lies inside the clip")
    assert list(clip.masks) == ["video", "audio"]


def test_a_word_that_many_cues_repeat_is_said_once_and_in_order() -> None:
    schedule = build_schedule(Span(1.0, 2.0), WindowConfig())
    cues = tuple(Cue(0.0, 9.0, text) for text in ("b", "a", "b", "c", "a"))
    assert cut_words(Words(cues=cues), schedule, LIMITS) == ("b a c", "b a c")


def test_cues_that_last_long_are_bounded_by_what_stands_on_all_hops() -> None:
    schedule = build_schedule(Span(0.0, 600.0), WindowConfig())
    limits = Limits(max_text_characters=240)
    cues = [Cue(0.0, 600.0, "stir")] * (25 * 240 // (4 * schedule.num_hops))
    assert set(cut_words(Words(cues=tuple(cues)), schedule, limits)) == {"stir"}
    with pytest.raises(LimitExceeded, match="more than 6000 characters") as caught:
        cut_words(Words(cues=(*cues, cues[0])), schedule, limits)
    assert caught.value.code == "limit_text"


# What cannot be used


def test_a_broken_video_beside_good_sound_is_told_with_its_code() -> None:
    clip = decoded(clip_of_two_seconds()[:400], wav(1.0))
    video = clip.modalities["video"]
    assert (video.used, video.code) == (False, "undecodable_media")
    assert video.reason
    assert clip.modalities["audio"] == USED
    assert clip.schedule.num_hops == 2


def test_a_picture_that_does_not_decode_does_not_make_the_clip_longer() -> None:
    media = render("mov", steady(3.0), pcm(1.0))
    clip = decoded(media, limits=Limits(max_frame_pixels=100))
    assert clip.modalities["video"].code == "limit_frame_pixels"
    assert "64 x 48 pixels" in str(clip.modalities["video"].reason)
    assert clip.schedule.span == Span(0.0, 1.0)
    assert clip.frames is None
    assert list(clip.masks) == ["audio"]
    assert of(clip.samples).shape[0] == 2
    assert decoded(media).schedule.num_hops == 6


def test_a_lone_part_that_does_not_decode_is_its_own_error() -> None:
    assert type(refused(NO_MEDIA)) is UndecodableMedia
    assert type(refused(audio=png(8, 8))) is UnsupportedMedia
    assert type(refused(text=" ")) is UndecodableMedia
    error = refused(render("mov", steady(1.0)), limits=Limits(max_frame_pixels=100))
    assert type(error) is LimitExceeded


def test_several_broken_parts_are_no_usable_modality_with_reasons() -> None:
    error = refused(png(8, 8), NO_MEDIA, " ")
    assert isinstance(error, NoUsableModality)
    assert error.status == 422
    reasons = error.body["modalities"]
    assert {name: reason["code"] for name, reason in reasons.items()} == {
        "video": "unsupported_media",
        "audio": "undecodable_media",
        "text": "undecodable_media",
    }
    assert reasons["text"]["reason"] == "the text has no words"
    assert "text: the text has no words" in error.message


def test_a_broken_part_and_one_without_content_are_no_usable_modality() -> None:
    error = refused(NO_MEDIA, render("mov", steady(0.4)))
    assert isinstance(error, NoUsableModality)
    assert error.details["modalities"]["audio"] == {"code": "not_sent", "reason": "the container has no sound"}


def test_a_part_with_two_faults_tells_both() -> None:
    limits = Limits(max_frame_pixels=100, min_sample_rate=40_000)
    error = refused(clip_of_two_seconds(), limits=limits)
    assert isinstance(error, NoUsableModality)
    assert error.details["modalities"]["audio"]["code"] == "limit_sample_rate"
    assert "16000 Hz" in error.details["modalities"]["audio"]["reason"]


def test_picture_without_sound_and_sound_without_picture_say_so() -> None:
    assert decoded(render("mov", steady(0.4))).modalities["audio"] == ModalityStatus(
        False, "not_sent", "the container has no sound"
    )
    assert decoded(wav(0.5)).modalities["video"] == ModalityStatus(False, "not_sent", "the container has no picture")


def test_sound_far_from_its_picture_is_refused_before_a_schedule_is_laid() -> None:
    late = render("matroska", steady(1.0, start_ms=700_000))
    error = refused(late, wav(1.0))
    assert type(error) is LimitExceeded
    assert error.message == "the clip spans 701.000 s, at most 600 s are allowed"
    assert decoded(late).schedule.span.start_seconds == 700.0  # alone it is a clip like any other


def test_decoding_that_runs_out_of_memory_is_that_parts_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "decode_cropped", exhausted)
    clip = decoded(clip_of_two_seconds())
    assert clip.modalities["video"].code == "limit_memory"
    assert clip.modalities["video"].reason == "decoding needs more memory than is allowed"
    assert clip.modalities["audio"] == USED


def test_an_unexpected_exception_is_not_taken_for_a_fault_of_the_media(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "decode_waveform", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decoded(wav())


@pytest.mark.parametrize("audio", [None, wav(0.5)])
def test_every_container_is_closed(audio: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Container] = []
    close = Container.close

    def noted(container: Container) -> None:
        closed.append(container)
        close(container)

    monkeypatch.setattr(Container, "close", noted)
    decoded(clip_of_two_seconds(), audio)
    assert len(closed) == 1 + (audio is not None)


# Models that have not everything

NOT_IN_MODEL = ModalityStatus(False, "not_in_model", "the model does not have it")


def test_what_the_model_has_not_is_told_and_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "decode_cropped", lambda *_: 1 / 0)
    clip = decoded(clip_of_two_seconds(), text="stir", config=TINY.model_copy(update={"video": None, "text": None}))
    assert clip.modalities == {"video": NOT_IN_MODEL, "audio": USED, "text": NOT_IN_MODEL}
    assert list(clip.masks) == ["audio"]
    assert clip.frames is None
    assert clip.texts is None


def test_the_picture_of_a_model_without_video_does_not_stretch_the_clip() -> None:
    media = render("mov", steady(3.0), pcm(1.0))
    assert decoded(media, config=TINY.model_copy(update={"video": None})).schedule.span == Span(0.0, 1.0)


@pytest.mark.parametrize(("video", "audio"), [(clip_of_two_seconds(), None), (None, wav(0.5)), (NO_MEDIA, None)])
def test_media_for_a_model_of_words_are_not_even_opened(video: bytes | None, audio: bytes | None) -> None:
    error = refused(video, audio, config=TINY.model_copy(update={"video": None, "audio": None}))
    assert isinstance(error, NoUsableModality)
    assert {name: reason["code"] for name, reason in error.details["modalities"].items()} == {
        "video": "not_in_model",
        "audio": "not_in_model",
        "text": "not_sent",
    }
    assert error.remedy == "Send at least one of text in a form that decodes."


def test_the_clips_repr_shows_shapes_alone() -> None:
    assert repr(replace(decoded(wav(1.0)))) == "Clip(2 hops of 0.5 s, audio)"
