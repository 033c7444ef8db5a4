from __future__ import annotations

from typing import Any

import pytest
from transformers import ASTConfig, Wav2Vec2Config

from models.pretrained.hops import AST_TIME_STRIDE, CONV_KERNELS, CONV_STRIDES, check_hop, count_filled

WHISPER: tuple[dict[str, Any], dict[str, Any]] = (
    {"model_type": "whisper"},
    {"sampling_rate": 16_000, "chunk_length": 30, "hop_length": 160},
)
AST: tuple[dict[str, Any], dict[str, Any]] = (
    {"model_type": "audio-spectrogram-transformer"},
    {"sampling_rate": 16_000, "max_length": 1024},
)
CLAP: tuple[dict[str, Any], dict[str, Any]] = (
    {"model_type": "clap"},
    {"sampling_rate": 48_000, "nb_max_samples": 480_000},
)
WAVLM: tuple[dict[str, Any], dict[str, Any]] = ({"model_type": "wavlm"}, {"sampling_rate": 16_000})


def test_what_older_files_leave_out_is_the_librarys() -> None:
    assert ASTConfig().time_stride == AST_TIME_STRIDE
    assert tuple(Wav2Vec2Config().conv_kernel) == CONV_KERNELS
    assert tuple(Wav2Vec2Config().conv_stride) == CONV_STRIDES


@pytest.mark.parametrize(("source", "shortest", "longest"), [
    (WHISPER, 1, 480_000),
    (AST, 400, 400 + 1023 * 160 + 159),  # one sample more is a 1025th filter bank
    (CLAP, 1, 480_000),
    (WAVLM, 400, None),
])  # fmt: skip
def test_the_limits_of_a_hop(source: tuple[dict[str, Any], dict[str, Any]], shortest: int, longest: int | None) -> None:
    check_hop("s", *source, shortest)
    with pytest.raises(ValueError, match="too short for s"):
        check_hop("s", *source, shortest - 1)
    check_hop("s", *source, longest or 10**9)
    if longest is not None:
        with pytest.raises(ValueError, match="too long for s"):
            check_hop("s", *source, longest + 1)


@pytest.mark.parametrize(("source", "num_columns", "hop_samples", "expected"), [
    (WHISPER, 1500, 16_000, 50),
    (WHISPER, 1500, 8_001, 26),
    (WHISPER, 1500, 480_000, 1500),
    (AST, 101, 16_000, 10),  # 98 filter banks
    (AST, 101, 400, 1),
    (AST, 101, 400 + 1023 * 160, 101),
    (CLAP, 32, 48_000, 4),  # 3.2 columns
    (CLAP, 32, 480_000, 32),
    (WAVLM, 49, 16_000, 49),
])  # fmt: skip
def test_columns_that_hold_the_hops_own_sound(
    source: tuple[dict[str, Any], dict[str, Any]], num_columns: int, hop_samples: int, expected: int
) -> None:
    assert count_filled(*source, hop_samples, num_columns=num_columns) == expected
