"""Beginning with the weights of a checkpoint instead of random ones."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from models.checkpoint import Checkpoint
from models.config import Modality, ModelConfig
from models.model import ActivityModel
from models.pretrained.resolve import pretrained_of
from models.settings import SettingsError
from training.recipe import Recipe


@dataclass(frozen=True)
class TakenWeights:
    """What was taken from a checkpoint."""

    encoders: tuple[Modality, ...]
    """Encoders of which every tensor fitted."""
    tensors: int
    """Tensors in all."""
    model_tensors: int
    """Tensors that the model has."""
    left: tuple[str, ...]
    """Tensors that the model keeps as they were made."""

    def has_backbone(self, name: Modality) -> bool:
        """Whether a pretrained encoder has all of its backbone's tensors; its projection may be of another width."""
        return not any(tensor.startswith(f"encoders.{name}.backbone.") for tensor in self.left)

    def __str__(self) -> str:
        whole = f"the encoders of {', '.join(self.encoders)}" if self.encoders else "no whole encoder"
        return f"{self.tensors} of {self.model_tensors} tensors, with {whole}"


def take_weights(model: ActivityModel, source: ActivityModel, *, encoders_only: bool = False) -> TakenWeights:
    """Copy what fits by name and shape.

    Args:
        model: the model to train; it is changed.
        source: the model of the checkpoint.
        encoders_only: leave fusion and head as they were made.
    """
    own, other = model.state_dict(), source.state_dict()
    fitting = {
        name: tensor
        for name, tensor in other.items()
        if name in own and own[name].shape == tensor.shape and (not encoders_only or name.startswith("encoders."))
    }
    model.load_state_dict(fitting, strict=False)
    left = tuple(name for name in own if name not in fitting)
    partly = {name.split(".")[1] for name in left if name.startswith("encoders.")}
    encoders = tuple(name for name in model.encoders if name not in partly)
    return TakenWeights(encoders, len(fitting), len(own), left)


def adopt_statistics(config: ModelConfig, source: ModelConfig) -> ModelConfig:
    """The model with what the checkpoint's learned of its data: tables' columns, vectors' mean and deviation.

    The encoders that are taken have seen their inputs normalised so.
    """
    vectors = {
        name: own.model_copy(update={"mean": source.vectors[name].mean, "std": source.vectors[name].std})
        if name in source.vectors and own.channels == source.vectors[name].channels
        else own
        for name, own in config.vectors.items()
    }
    same_table = (
        config.tabular is not None
        and source.tabular is not None
        and list(config.tabular.numeric) == list(source.tabular.numeric)
        and list(config.tabular.categorical) == list(source.tabular.categorical)
    )
    return config.model_copy(update={"vectors": vectors, **({"tabular": source.tabular} if same_table else {})})


def check_frozen(recipe: Recipe, taken: TakenWeights | None) -> None:
    """Refuse to freeze for good what was never trained.

    Raises:
        SettingsError: when an encoder is frozen in all stages and its weights are random.
    """
    random = recipe.always_frozen - set(() if taken is None else taken.encoders) - set(pretrained_of(recipe.model))
    if random:
        raise SettingsError(
            f"the recipe freezes {', '.join(sorted(random))} in every stage, but no checkpoint gives these encoders "
            "their weights: train with --init and a checkpoint that has the same ones."
        )


def adopt_tokenizer(config: ModelConfig, source: Checkpoint) -> Tokenizer | None:
    """The checkpoint's tokenizer, where it gives the ids that the model's text encoder takes.

    Raises:
        SettingsError: both have a text encoder of their own, and the checkpoint's vocabulary is larger.
    """
    text, other = config.text, source.description.config.text
    if text is None or other is None or source.tokenizer is None or text.encoder != other.encoder:
        return None
    if text.pretrained is not None and other.pretrained is not None:
        read = [(it.architecture, it.processor) for it in (text.pretrained, other.pretrained)]
        return source.tokenizer if read[0] == read[1] and text.max_tokens == other.max_tokens else None
    if source.tokenizer.get_vocab_size() > text.vocab_size:
        raise SettingsError(
            f"the checkpoint's tokenizer has {source.tokenizer.get_vocab_size()} entries, "
            f"model.text.vocab_size is {text.vocab_size}"
        )
    return source.tokenizer
