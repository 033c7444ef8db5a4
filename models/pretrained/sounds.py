"""Sound encoders, hop by hop.

Over spectrograms: the audio spectrogram transformer (AST, arXiv 2104.01778), CLAP's (arXiv 2211.06687), Whisper's
encoder (arXiv 2212.04356). Over the waveform: Wav2Vec2 (arXiv 2006.11477), HuBERT (arXiv 2106.07447), WavLM (arXiv
2110.13900). Each gives columns in time, whose means are the hop's tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder, architecture_of, processor_of
from models.pretrained.family import Family
from models.pretrained.hops import check_hop, count_filled
from models.pretrained.towers import tower_config
from models.pretrained.weights import load_backbone, quiet_transformers
from models.settings import SettingsError

EXTRACTORS = {
    "audio-spectrogram-transformer": "ASTFeatureExtractor",
    "clap": "ClapFeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
    "wav2vec2": "Wav2Vec2FeatureExtractor",
    "hubert": "Wav2Vec2FeatureExtractor",
    "wavlm": "Wav2Vec2FeatureExtractor",
}
"""The class of transformers that makes an architecture's input of samples."""

WAVEFORM_HEADS = ("lm_head.", "classifier.", "projector.", "quantizer.", "project_q.", "project_hid.", "layer_weights")
SPEC_MASK = ("masked_spec_embed", "wav2vec2.masked_spec_embed", "hubert.masked_spec_embed", "wavlm.masked_spec_embed")
WORDS_OF_CLAP = ("text_model.", "text_projection.", "logit_scale")
DECODER_OF_WHISPER = ("model.decoder.", "decoder.", "proj_out.")


class SoundFeatures:
    """What a source's own feature extractor makes of hops, one hop at a time, so that none hears another.

    Args:
        config: resolved.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        import transformers  # noqa: PLC0415 - costs seconds

        processor = dict(processor_of(config))
        self.sample_rate: int = processor["sampling_rate"]
        name = EXTRACTORS[architecture_of(config)["model_type"]]
        self._extract = getattr(transformers, name).from_dict(processor)

    def __call__(self, samples: Tensor) -> Tensor:
        """From hops of samples ``(N, P)`` float32 to the encoder's input ``(N, ...)`` float32, on the same device.

        ::

            AST                       (N, M, F)     log filter banks
            CLAP                      (N, C, M, F)  log-mel, C = 4 where it fuses, else 1
            Whisper                   (N, F, M)     log-mel
            Wav2Vec2, HuBERT, WavLM   (N, P)        the waveform, normalised where the source does so
        """
        return torch.stack([self._of_hop(hop) for hop in samples]).to(samples.device)

    def _of_hop(self, hop: Tensor) -> Tensor:
        made = self._extract(hop.cpu().numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        features: Tensor = made["input_values" if "input_values" in made else "input_features"][0]
        return features.float()


class SoundEncoder(PretrainedEncoder):
    """Hops of sound to tokens.

    Args:
        backbone: the architecture without heads.
        config: of the encoder.
        feature_width: F.
        width: D, of the tokens.
        hop_samples: samples of a hop.
        tokens_per_hop: tokens, each the mean over an equal part of the hop's time.
        unused: see :class:`models.pretrained.encoder.PretrainedEncoder`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        config: PretrainedConfig,
        *,
        feature_width: int,
        width: int,
        hop_samples: int,
        tokens_per_hop: int,
        unused: tuple[str, ...],
    ) -> None:
        super().__init__(backbone, config, feature_width=feature_width, width=width, unused=unused)
        self.hop_samples = hop_samples
        self.tokens_per_hop = tokens_per_hop
        try:
            check_hop(config.source, architecture_of(config), processor_of(config), hop_samples)
        except ValueError as exc:
            raise SettingsError(str(exc)) from exc

    def extract(self, features: Tensor) -> Tensor:
        """Encode hops.

        Args:
            features: what :class:`SoundFeatures` gives.

        Returns:
            ``(N, tokens_per_hop, F)`` float, in the order of time; with ``output: embedding`` ``(N, 1, F)`` of length
            1.
        """
        if self.config.output == "embedding":
            return functional.normalize(self.embed(features), dim=-1)[:, None]
        columns = self.columns(features)
        filled = count_filled(
            architecture_of(self.config),
            processor_of(self.config),
            self.hop_samples,
            num_columns=columns.shape[1],
        )
        of_hop = columns[:, :filled].transpose(1, 2)
        return functional.adaptive_avg_pool1d(of_hop, self.tokens_per_hop).transpose(1, 2)

    def columns(self, features: Tensor) -> Tensor:
        """What the backbone says of each stretch of time: ``(N, T, F)`` float."""
        columns: Tensor = self.backbone(features).last_hidden_state
        return columns

    def embed(self, features: Tensor) -> Tensor:
        """The joint embedding ``(N, F)`` float, of any length."""
        raise NotImplementedError

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The backbone's blocks, the last one last."""
        backbone: Any = self.backbone
        return tuple(backbone.layers)


class AstEncoder(SoundEncoder):
    """AST: the patches' mean over frequency; its two class tokens have no time."""

    def columns(self, features: Tensor) -> Tensor:
        """See :meth:`SoundEncoder.columns`."""
        backbone: Any = self.backbone
        num_bands, _ = backbone.embeddings.get_shape(backbone.config)
        patches = backbone(features).last_hidden_state[:, 2:]
        columns: Tensor = patches.unflatten(1, (num_bands, -1)).mean(dim=1)
        return columns


class WaveformEncoder(SoundEncoder):
    """Wav2Vec2, HuBERT and WavLM."""

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """See :attr:`SoundEncoder.blocks`."""
        backbone: Any = self.backbone
        return tuple(backbone.encoder.layers)


class WavLmEncoder(WaveformEncoder):
    """WavLM, whose attention is one function over the weights of its layers."""

    not_called = ("q_proj", "k_proj", "v_proj", "out_proj")


class WhisperSoundEncoder(SoundEncoder):
    """Whisper's encoder, whose positions are sines and stay so."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """See :meth:`models.pretrained.encoder.PretrainedEncoder.requires_grad_`."""
        super().requires_grad_(requires_grad)
        backbone: Any = self.backbone
        backbone.embed_positions.requires_grad_(False)
        return self

    def load(self, folder: Path) -> None:
        """See :meth:`models.pretrained.encoder.PretrainedEncoder.load`; a source is the whole of Whisper."""
        load_backbone(self.backbone, folder, self.unused, key_mapping={r"^(model\.)?encoder\.": ""})


class ClapSoundEncoder(SoundEncoder):
    """CLAP's sound tower, whose hop stands once in what it hears, then again and again."""

    def columns(self, features: Tensor) -> Tensor:
        """See :meth:`SoundEncoder.columns`: the mean over frequency."""
        output = self.backbone(input_features=features, is_longer=_is_longer(features))
        return output.last_hidden_state.mean(dim=2).transpose(1, 2)  # type: ignore[no-any-return]

    def embed(self, features: Tensor) -> Tensor:
        """See :meth:`SoundEncoder.embed`."""
        output = self.backbone(input_features=features, is_longer=_is_longer(features))
        return output.audio_embeds  # type: ignore[no-any-return]

    def load(self, folder: Path) -> None:
        """See :meth:`models.pretrained.encoder.PretrainedEncoder.load`."""
        mapping = {} if self.config.output == "embedding" else {"key_mapping": {r"^audio_model\.": ""}}
        load_backbone(self.backbone, folder, self.unused, **mapping)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """See :attr:`SoundEncoder.blocks`."""
        backbone: Any = self.backbone
        tower = backbone.audio_model if self.config.output == "embedding" else backbone
        return tuple(block for stage in tower.audio_encoder.layers for block in stage.blocks)


def _is_longer(features: Tensor) -> Tensor:
    """What CLAP's extractor says of a single hop where it fuses: that it is long, even where it is not."""
    return torch.ones(len(features), 1, dtype=torch.bool, device=features.device)


def _build_ast(config: PretrainedConfig, width: int, **hop: int) -> SoundEncoder:
    from transformers import ASTModel  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "audio_config")
    unused = ("classifier.",)
    return AstEncoder(ASTModel(settings), config, feature_width=settings.hidden_size, width=width, unused=unused, **hop)


def _build_waveform(config: PretrainedConfig, width: int, **hop: int) -> SoundEncoder:
    import transformers  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "audio_config")
    # What is masked and left out at random is for the recipe to say; a short hop has too few columns for theirs.
    settings.mask_time_prob = settings.mask_feature_prob = settings.layerdrop = 0.0
    names = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
    backbone = getattr(transformers, names[settings.model_type])(settings)
    unused = (*WAVEFORM_HEADS, *SPEC_MASK)
    feature_width = settings.output_hidden_size if getattr(settings, "add_adapter", False) else settings.hidden_size
    encoder = WavLmEncoder if settings.model_type == "wavlm" else WaveformEncoder
    return encoder(backbone, config, feature_width=feature_width, width=width, unused=unused, **hop)


def _build_whisper(config: PretrainedConfig, width: int, **hop: int) -> SoundEncoder:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "audio_config")
    settings.encoder_layerdrop = 0.0  # as for waveforms
    return WhisperSoundEncoder(
        WhisperEncoder(settings),
        config,
        feature_width=settings.d_model,
        width=width,
        unused=DECODER_OF_WHISPER,
        **hop,
    )


def _build_clap(config: PretrainedConfig, width: int, **hop: int) -> SoundEncoder:
    from transformers import ClapAudioModel, ClapAudioModelWithProjection  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "audio_config")
    is_embedding = config.output == "embedding"
    return ClapSoundEncoder(
        ClapAudioModelWithProjection(settings) if is_embedding else ClapAudioModel(settings),
        config,
        feature_width=settings.projection_dim if is_embedding else settings.hidden_size,
        width=width,
        unused=WORDS_OF_CLAP if is_embedding else (*WORDS_OF_CLAP, "audio_projection."),
        **hop,
    )


def _reader(kind: str) -> Callable[[Path], dict[str, Any]]:
    def read(folder: Path) -> dict[str, Any]:
        """The settings of a source's feature extractor."""
        import transformers  # noqa: PLC0415 - costs seconds

        try:
            with quiet_transformers():
                extractor = getattr(transformers, EXTRACTORS[kind]).from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as exc:
            raise SettingsError(f"{folder} has no {EXTRACTORS[kind]} that can be read: {exc}") from exc
        values: dict[str, Any] = json.loads(extractor.to_json_string())
        return values

    return read


def _settle(config: PretrainedConfig) -> Mapping[str, Any]:
    return {"sample_rate": processor_of(config)["sampling_rate"]}


BUILDERS: dict[str, Callable[..., SoundEncoder]] = {
    "audio-spectrogram-transformer": _build_ast,
    "clap": _build_clap,
    "whisper": _build_whisper,
    "wav2vec2": _build_waveform,
    "hubert": _build_waveform,
    "wavlm": _build_waveform,
}

FAMILIES: dict[tuple[str, str], Family] = {
    ("audio", kind): Family(
        build=build, read_processor=_reader(kind), settle=_settle, sees_time=True, has_embedding=kind == "clap"
    )
    for kind, build in BUILDERS.items()
}
