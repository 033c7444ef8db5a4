from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import httpx
import pytest

from cli.canary import read_canary
from cli.canary_parts import render_parts
from cli.destination import Destination
from cli.record import ServerRecord
from tests.handler.requests import tiny_pipeline
from tests.models.every import EVERY

pytestmark = pytest.mark.server


def test_every_modality_is_served_as_it_is_answered_in_this_process(
    server: ServerRecord, model_store: Path, destination: Destination, every: str
) -> None:
    parts = render_parts(EVERY)
    (local,) = tiny_pipeline(EVERY).respond([parts], ["local"])
    assert all(status["used"] for status in json.loads(local.body)["modalities"].values())
    canary = read_canary(model_store / "every.mar")
    assert canary is not None
    assert canary.parts == parts
    asked = dataclasses.replace(destination, model=every)
    assert asked.ask(parts, {}).body == asked.ask(parts, {}, grpc=True).body == local.body
    media = {name: base64.b64encode(parts[name]).decode() for name in ("video", "image", "depth")}
    tables = {name: parts[name].decode() for name in ("text", "tabular", "imu")}
    response = httpx.post(
        f"{server.inference_url}/predictions/{every}",
        json={**media, **tables},
        headers={"Authorization": f"Bearer {server.tokens().inference}"},
        trust_env=False,
    )
    assert response.content == local.body
    refused = asked.ask({**parts, "gaze": b"x\n1\n"}, {})
    assert (refused.status, refused.json()["code"]) == (400, "unknown_part")
