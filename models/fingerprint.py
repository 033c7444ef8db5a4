"""What tells one checkpoint from another, in little time also for one of gigabytes."""

from __future__ import annotations

from hashlib import sha256

import torch

from models.checkpoint import Checkpoint

WHOLE_VALUES = 2**20
"""Tensors of no more values are read whole: all of the demo's."""
SAMPLED_VALUES = 2**16
"""Of larger ones so many are read, at equal distances."""


def checkpoint_fingerprint(checkpoint: Checkpoint) -> str:
    """A fingerprint of ``model.json``, the tokenizers and the weights.

    Training, pruning or rounding moves values all over a tensor, so a sample of each finds it; the header of the
    weights' file alone would not, as two trainings of one configuration have the same. It keeps states of streams from
    going on with other weights by mistake. Whoever can write weights can also find some with the same fingerprint.

    Args:
        checkpoint: as it was loaded; its weights were not converted since.

    Returns:
        64 hexadecimal digits, the same wherever the checkpoint is loaded.
    """
    digest = sha256(checkpoint.description.model_dump_json().encode("utf-8"))
    tokenizers = {**checkpoint.label_tokenizers, "": checkpoint.tokenizer}
    for name, tokenizer in sorted(tokenizers.items()):
        if tokenizer is not None:
            digest.update(f"\0{name}\0{tokenizer.to_str()}".encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(_sample(tensor).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """Values of a tensor in a row, on the CPU."""
    values = tensor.detach().reshape(-1)
    step = 1 if values.numel() <= WHOLE_VALUES else values.numel() // SAMPLED_VALUES
    return values[::step].cpu().contiguous()
