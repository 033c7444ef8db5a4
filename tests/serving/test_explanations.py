from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cli.record import ServerRecord
from handler.pipeline import ActivityPipeline
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server


def test_the_address_of_explanations_explains_its_own_requests_only(
    server: ServerRecord, pipeline: ActivityPipeline, clip: RenderedClip
) -> None:
    """Side by side in the server's batches, and whatever a client's own header says."""
    headers = {"Authorization": f"Bearer {server.tokens().inference}", "Content-Type": "video/mp4"}

    def ask(kind: str) -> httpx.Response:
        sent = {**headers, "explain": "True"} if kind == "predictions" else headers
        address = f"{server.inference_url}/{kind}/activity"
        return httpx.post(address, content=clip.video, headers=sent, trust_env=False, timeout=60)

    kinds = ["explanations", "predictions", "predictions"] * 2
    with ThreadPoolExecutor(len(kinds)) as pool:
        responses = list(pool.map(ask, kinds))
    (plain, explained) = pipeline.respond([{"body": clip.video}] * 2, ["a", "b"], explained=[1])
    expected = {"explanations": explained.body, "predictions": plain.body}
    assert [response.status_code for response in responses] == [200] * len(kinds)
    assert [response.content for response in responses] == [expected[kind] for kind in kinds]
    assert set(json.loads(explained.body)["explanation"]) == {"windows", "segments"}
