from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.ports import Ports
from cli.properties import effective_properties, read_properties, write_properties
from handler.limits import Limits

PROJECT = Path(__file__).parents[2]
SHIPPED = read_properties(PROJECT / "config.properties")


def test_the_shipped_settings_listen_on_loopback_with_tokens() -> None:
    for kind in ("inference", "management", "metrics"):
        assert SHIPPED[f"{kind}_address"].startswith("http://127.0.0.1:")
    assert SHIPPED["grpc_inference_address"] == SHIPPED["grpc_management_address"] == "127.0.0.1"
    assert SHIPPED["disable_token_authorization"] == "false"
    assert SHIPPED["enable_model_api"] == "false"


def test_the_largest_part_fits_into_a_request_even_as_base64() -> None:
    largest = Limits().max_bytes * 4 / 3 + 1024 * 1024
    assert int(SHIPPED["max_request_size"]) >= largest
    assert int(SHIPPED["max_request_size"]) < 2**31


def test_a_server_gets_its_own_ports_and_keeps_the_rest() -> None:
    properties = effective_properties(
        {**SHIPPED, "inference_address": "http://0.0.0.0:80"},
        Ports(1, 2, 3, 4, 5),
        token_authorization=True,
        enable_model_api=False,
    )
    assert properties["inference_address"] == "http://127.0.0.1:1"
    assert properties["management_address"] == "http://127.0.0.1:2"
    assert properties["metrics_address"] == "http://127.0.0.1:3"
    assert (properties["grpc_inference_port"], properties["grpc_management_port"]) == ("4", "5")
    assert properties["max_request_size"] == SHIPPED["max_request_size"]
    assert not {"model_store", "load_models"} & properties.keys()


def test_each_worker_brings_its_own_part_of_the_queue() -> None:
    def queue(workers: int) -> str:
        settings = effective_properties(
            SHIPPED, Ports(), token_authorization=True, enable_model_api=False, workers=workers
        )
        return settings["job_queue_size"]

    assert (queue(1), queue(3)) == ("16", "48")
    assert "job_queue_size" not in effective_properties({}, Ports(), token_authorization=True, enable_model_api=False)


@pytest.mark.parametrize(
    ("tokens", "model_api", "expected"),
    [(True, False, ("false", "false")), (False, True, ("true", "true"))],
)
def test_tokens_and_the_model_api_are_switched(tokens: bool, model_api: bool, expected: tuple[str, str]) -> None:
    properties = effective_properties({}, Ports(), token_authorization=tokens, enable_model_api=model_api)
    assert (properties["disable_token_authorization"], properties["enable_model_api"]) == expected


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    write_properties(path, {"b": "x=y z", "a": "1"})
    assert path.read_text() == "a=1\nb=x=y z\n"
    assert read_properties(path) == {"a": "1", "b": "x=y z"}


def test_what_java_would_misread_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    write_properties(path, {"key": "a\\b é 🎬"})
    assert path.read_bytes() == b"key=a\\\\b \\u00e9 \\ud83c\\udfac\n"


def test_comments_and_empty_lines_are_skipped_and_nonsense_is_not(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_text("# comment\n! another\n\n key = value \nnonsense\n")
    with pytest.raises(CommandError, match="line 5: 'nonsense' is no setting"):
        read_properties(path)
    with pytest.raises(CommandError, match="cannot be read"):
        read_properties(tmp_path / "missing")
