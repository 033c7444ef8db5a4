from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cli.errors import PortTaken
from cli.ports import HIGHEST_OWN_PORT, LOWEST_OWN_PORT, Ports, WantedPorts, choose_ports, find_free_port, is_free


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


@pytest.fixture
def usual() -> Ports:
    """Five free ports to stand for the usual ones, which this machine may use."""
    found: set[int] = set()
    while len(found) < 5:
        found.add(find_free_port(found))
    return Ports(*sorted(found))


def test_free_ports_stay_as_they_are(usual: Ports) -> None:
    said: list[str] = []
    assert choose_ports(WantedPorts(), report=said.append, usual=usual) == usual
    assert said == []


def test_a_taken_usual_port_is_replaced_and_that_is_said(usual: Ports, listening: int) -> None:
    said: list[str] = []
    chosen = choose_ports(WantedPorts(), report=said.append, usual=Ports(listening, *usual.numbers[1:]))
    assert chosen.numbers[1:] == usual.numbers[1:]
    assert LOWEST_OWN_PORT <= chosen.inference < HIGHEST_OWN_PORT
    assert len(set(chosen.numbers)) == 5
    assert said == [f"Port {listening} (inference) is taken; using {chosen.inference}."]


def test_a_wanted_port_is_used_and_no_other_takes_it(usual: Ports) -> None:
    wanted = WantedPorts(grpc_management=usual.inference)
    chosen = choose_ports(wanted, report=lambda _: None, usual=usual)
    assert chosen.grpc_management == usual.inference
    assert chosen.inference != usual.inference
    assert len(set(chosen.numbers)) == 5


def test_a_wanted_port_that_is_taken_is_refused_with_a_remedy(listening: int) -> None:
    with pytest.raises(PortTaken, match=rf"Port {listening} \(gRPC inference\) is taken") as caught:
        choose_ports(WantedPorts(grpc_inference=listening), report=lambda _: None)
    assert "Leave the option out" in caught.value.remedy


def test_one_port_for_two_purposes_is_refused() -> None:
    with pytest.raises(PortTaken, match="asked for twice"):
        choose_ports(WantedPorts(inference=25001, metrics=25001), report=lambda _: None)


def test_a_port_that_is_listened_on_for_every_address_is_taken() -> None:
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))  # noqa: S104 - this is what is tested
        held.listen()
        assert not is_free(held.getsockname()[1])
