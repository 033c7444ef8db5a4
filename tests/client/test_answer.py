from __future__ import annotations

import pytest

from client.answer import Answer


def test_json_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        Answer(200, "application/json", b"[1]").json()


def test_captions_are_no_json() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Answer(200, "text/vtt", b"WEBVTT\n").json()
