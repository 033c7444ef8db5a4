from __future__ import annotations

import re

from torch import nn

from models.module_names import MODULE_ATTRIBUTES


def test_the_names_are_those_of_the_installed_torch() -> None:
    found = {*dir(nn.ModuleDict()), *dir(nn.ParameterDict())}
    assert {name for name in found if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)} == MODULE_ATTRIBUTES
