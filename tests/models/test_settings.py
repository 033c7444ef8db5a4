from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from models.settings import Settings, SettingsError


class Oven(Settings):
    heat: float = 180.0
    minutes: int = 30


class Kitchen(Settings):
    name: str
    oven: Oven = Oven()
    spare: Oven | None = None
    others: tuple[Oven, ...] = ()
    guests: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None


def fault(values: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Kitchen.read(values, source="kitchen.yaml")  # type: ignore[arg-type]
    return str(caught.value)


def test_what_validates_is_read() -> None:
    kitchen = Kitchen.read({"name": "k", "spare": {"heat": 90}, "others": [{}, {"minutes": 5}]}, source="x")
    assert kitchen == Kitchen(name="k", spare=Oven(heat=90.0), others=(Oven(), Oven(minutes=5)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "k", "ovn": {}}, "unknown key 'ovn' (known keys: guests, name, others, oven, spare)"),
        ({"name": "k", "oven": {"heta": 1}}, "unknown key 'oven.heta' (known keys: heat, minutes)"),
        ({"name": "k", "spare": {"heta": 1}}, "unknown key 'spare.heta' (known keys: heat, minutes)"),
        ({"name": "k", "others": [{}, {"h": 1}]}, "unknown key 'others.1.h' (known keys: heat, minutes)"),
        ({}, "missing key 'name'"),
        ({"name": "k", "oven": {"minutes": "x"}}, "'oven.minutes' is 'x': input should be a valid integer"),
        ({"name": "k", "others": "x"}, "'others' is 'x': input should be a valid list"),
        ({"name": "k", "guests": []}, "'guests' is []: list should have at least 1 item"),
    ],
)
def test_a_fault_names_the_key_and_what_is_allowed(values: object, message: str) -> None:
    assert fault(values).startswith(f"kitchen.yaml: {message}")


class Gas(Settings):
    kind: Literal["gas"] = "gas"
    flames: int = 4
    oven: Oven = Oven()


class Induction(Settings):
    kind: Literal["induction"] = "induction"
    watts: int = 2000


class Restaurant(Settings):
    hob: Annotated[Gas | Induction, Field(discriminator="kind")] = Gas()
    spares: tuple[Annotated[Gas | Induction, Field(discriminator="kind")], ...] = ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hob": {"kind": "gas", "watts": 1}}, "unknown key 'hob.watts' (known keys: flames, kind, oven)"),
        ({"hob": {"kind": "induction", "flames": 1}}, "unknown key 'hob.flames' (known keys: kind, watts)"),
        ({"hob": {"kind": "gas", "oven": {"x": 1}}}, "unknown key 'hob.oven.x' (known keys: heat, minutes)"),
        ({"spares": [{"kind": "gas"}, {"kind": "induction", "w": 1}]}, "unknown key 'spares.1.w' (known keys: kind,"),
        ({"hob": {"kind": "wood"}}, "'hob.kind' is 'wood' (known kinds: gas, induction)"),
        ({"hob": {"kind": "gas", "flames": "x"}}, "'hob.flames' is 'x': input should be a valid integer"),
    ],
)
def test_a_fault_below_a_choice_is_told_of_the_chosen_kind(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Restaurant.read(values, source="restaurant.yaml")
    assert str(caught.value).startswith(f"restaurant.yaml: {message}")


def test_every_fault_is_told() -> None:
    message = fault({"oven": {"a": 1, "heat": "hot"}})
    assert message.count("; ") == 2
    assert "missing key 'name'" in message
    assert "unknown key 'oven.a'" in message
    assert "'oven.heat' is 'hot'" in message


def test_a_faulty_item_is_not_missed_as_well() -> None:
    assert fault({"name": "k", "guests": [1]}) == "kitchen.yaml: 'guests.0' is 1: input should be a valid string"


def test_a_long_value_is_cut() -> None:
    message = fault({"name": "k", "oven": {"minutes": "x" * 500}})
    assert "x" * 56 + "..." in message
    assert "x" * 57 not in message


def test_what_is_no_mapping_is_refused() -> None:
    assert fault([1]).startswith("kitchen.yaml: ")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Oven().heat = 1.0  # type: ignore[misc]


def test_yaml_is_read_and_its_faults_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "kitchen.yaml"
    path.write_text("name: k\noven: {heat: 200}\n", encoding="utf-8")
    assert Kitchen.read_yaml(path).oven.heat == 200.0
    for content, message in (
        ("- k\n", "kitchen.yaml: expected a mapping of keys to values, got list"),
        ("", "kitchen.yaml: expected a mapping of keys to values, got NoneType"),
        ("name: [k\n", "kitchen.yaml is no YAML: "),
        ("name: !!python/object/apply:os.getcwd []\n", "kitchen.yaml is no YAML: could not determine a constructor"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            Kitchen.read_yaml(path)
        assert str(caught.value).startswith(message)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(SettingsError, match="is no YAML"):
        Kitchen.read_yaml(path)
