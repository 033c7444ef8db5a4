from __future__ import annotations

import json

import pytest

from cli.destination import Destination
from handler.pipeline import ActivityPipeline
from tests.media import real_media

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not real_media(), reason="no folder of real recordings"),
]


def test_every_real_file_is_answered_or_refused_with_a_reason(
    destination: Destination, pipeline: ActivityPipeline
) -> None:
    answered = 0
    for path in real_media():
        video = path.read_bytes()
        answer = destination.ask({"video": video}, {})
        body = json.loads(answer.body)
        assert answer.status == body["status"], path
        assert answer.status == 200 or (400 <= answer.status < 500 and body["message"] and body["remedy"]), path
        (local,) = pipeline.respond([{"video": video}], ["local"])
        assert answer.body == local.body, path
        answered += answer.status == 200
    assert answered >= 1
