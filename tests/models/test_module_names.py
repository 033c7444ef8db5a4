from __future__ import annotations

import re

from torch import nn

from models.module_names import MODULE_ATTRIBUTES


def test_the_names_are_those_of_the_installed_torch() -> None:
    found = {name for kind in (nn.ModuleDict, nn.ParameterDict) for name in dir(kind()) if is_torchs(kind, name)}
    assert {name for name in found if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)} == MODULE_ATTRIBUTES


def is_torchs(kind: type[nn.Module], name: str) -> bool:
    """Whether no other package put it there: transformers gives all modules a method when it makes a model."""
    return not str(getattr(getattr(kind, name, None), "__module__", None)).startswith("transformers.")
