from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter

from models.fusion.build import FUSIONS, build_fusion
from models.fusion_config import EarlyConfig, FusionConfig, GatedCrossAttentionConfig, HierarchicalConfig
from tests.models.fusion.cases import CASES, MODALITIES, WIDTH, build, windows


def test_each_kind_of_the_configuration_is_built_and_tested() -> None:
    kinds = {get_args(member)[1].tag for member in get_args(get_args(FusionConfig)[0])}
    assert kinds == set(FUSIONS) == {config.kind for config in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_goes_through_json_and_builds_what_its_kind_says(case: str) -> None:
    config = CASES[case]
    adapter: TypeAdapter[FusionConfig] = TypeAdapter(FusionConfig)
    assert adapter.validate_json(config.model_dump_json()) == config
    tokens, masks = windows(2)
    fusion = build(config)
    assert type(fusion) is FUSIONS[config.kind]
    output = fusion(tokens, masks)
    assert output.fused.shape == (2, fusion.output_width)
    assert {name: tuple(part.shape) for name, part in output.embeddings.items()} == dict.fromkeys(
        MODALITIES, (2, WIDTH)
    )


def test_what_does_not_fit_is_refused() -> None:
    for config, message in (
        (EarlyConfig(heads=3), "width 8 must be a multiple of fusion.heads 3"),
        (HierarchicalConfig(heads=2, order=("video", "audio")), "fusion.order is video, audio: it must name each"),
        (GatedCrossAttentionConfig(heads=2, main="imu"), "fusion.main is imu: it must be one of video, audio, text"),
    ):
        with pytest.raises(ValueError, match=message):
            build_fusion(config, MODALITIES, width=8, dropout=0.0)
