"""Names that torch's dictionaries of modules and parameters have as attributes, and so take as no key.

They stand here so that a model is described without torch; a test holds them against the installed one.
"""

from __future__ import annotations

MODULE_ATTRIBUTES = frozenset(
    (
        *("add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear", "compile", "copy"),
        *("cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "fromkeys", "get"),
        *("get_buffer", "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "items", "keys"),
        *("load_state_dict", "modules", "mtia", "named_buffers", "named_children", "named_modules"),
        *("named_parameters", "parameters", "pop", "popitem", "register_backward_hook", "register_buffer"),
        *("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"),
        *("register_full_backward_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook"),
        *("register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "setdefault"),
        *("share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "update", "values", "xpu"),
        "zero_grad",
    )
)
