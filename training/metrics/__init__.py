"""Measures of what a model says, on plain arrays and segments; nothing here knows a model or a file.

``classification`` (which label) -> ``calibration`` (how sure) -> ``segments`` (from when to when), and ``bootstrap``
(how far each number would move on other clips of the same kind).
"""
