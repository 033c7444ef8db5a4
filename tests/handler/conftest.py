from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # the package leaves a file open when it is first imported
    import ts  # noqa: F401
