"""``activity front``: nginx before the server: a crashed worker and slow clients cost nobody a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.draining_mark import REASON, is_draining, remove_mark
from cli.errors import CommandError
from cli.front_keys import build_key_maps, build_open_key_maps, load_inference_key
from cli.listening import Tls, find_tls, is_loopback
from cli.nginx import DEFAULT_TRIES, FOLDER_NAME, TEMPLATE, FrontSettings, Nginx, build_config, find_nginx
from cli.ports import LOOPBACK, find_free_port, is_free
from cli.progress import say, stderr
from cli.properties import read_properties
from cli.record import ServerRecord, require_record, resolve_run_dir
from cli.serve import RunDir, TlsCertificate, TlsKey, interrupt_on_sigterm

if TYPE_CHECKING:
    from cli.truth import Readiness, Watch

USUAL_REST_PORT, USUAL_GRPC_PORT = 8000, 8001
"""Where KServe's clients look for a server."""
WATCH_SECONDS = 0.5
TORCHSERVES_REQUEST_BYTES = 6_553_500
TORCHSERVES_QUEUE = 100
"""Its own limits where its settings name none."""


def front(  # noqa: PLR0913 - one argument an option of the command line
    port: Annotated[
        int | None, typer.Option(help="REST port.", min=1, max=65535, show_default="8000, else a free one")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port.", min=1, max=65535, show_default="8001, else a free one")
    ] = None,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = LOOPBACK,
    workers: Annotated[int, typer.Option(help="How many READY workers it takes for /ready.", min=1)] = 1,
    tries: Annotated[
        int, typer.Option(help="How often a prediction is tried whose worker crashes.", min=1, max=64)
    ] = DEFAULT_TRIES,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Listen beyond this machine without TLS: something before it speaks it.")
    ] = False,
    inference_key_file: Annotated[
        Path | None,
        typer.Option(
            help="Let in who has the key of this file, too, which outlives the server's; made where it is missing.",
            dir_okay=False,
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Only write nginx's configuration into this file.", dir_okay=False)
    ] = None,
    run_dir: RunDir = None,
) -> None:
    """Put nginx before the server of this run folder, until Ctrl-C or SIGTERM.

    A prediction by REST whose worker crashes is asked again; half a request never reaches TorchServe; /ready tells
    whether the server is ready; KServe's public gRPC clients find their service. Of more requests than may wait in the
    server's queue each is refused at once with 503. When the front ends it refuses new requests, and those in flight
    are answered, for up to 23 s. Who has no key is refused before a byte of the body is read. To other machines
    (--host) it speaks TLS, since keys are readable on the way.

    [bold]Examples[/bold]

    $ activity front
    $ activity front --port 8000 --grpc-port 8001 --workers 2
    $ activity front --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --inference-key-file inference.key
    $ activity front --write front.conf
    """
    record = require_record(resolve_run_dir(run_dir))
    tls = find_tls({}, tls_cert, tls_key, Path.cwd())
    if write is not None:
        write.write_text(_config(record, host, _ports(port, grpc_port), tries, tls), encoding="utf-8")
        say(f"Wrote {write}. Its /ready asks `activity ready --serve PORT`: name that port in it.")
        return
    if not (is_loopback(host) or tls or plain):
        raise CommandError(
            f"At {host} keys and clips could be read on their way.",
            remedy="Name --tls-cert and --tls-key, or say --plain where something before the front speaks TLS.",
        )
    door = Door(host, tls, () if inference_key_file is None else (load_inference_key(inference_key_file),))
    interrupt_on_sigterm()
    with running_front(record, port, grpc_port, door=door, workers=workers, tries=tries) as opened:
        stderr.print(f"Front: REST [bold]{opened.rest_url}[/bold], gRPC [bold]{opened.grpc_target}[/bold]")
        say("Ctrl-C ends it.")
        try:
            while opened.nginx.runs:
                _check_ports(record)
                opened.follow_keys()
                time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            say("Stopping: requests in flight are still answered, new ones refused.")
            return
    raise CommandError("nginx ended by itself.", remedy=f"Its logs are in {opened.folder}.")


@dataclass(frozen=True)
class Door:
    """Where a front listens, how, and whom it lets in."""

    host: str = LOOPBACK
    tls: Tls | None = None
    own_keys: tuple[str, ...] = ()
    """Keys that are let in beside the server's."""


class Front:
    """A front that runs."""

    def __init__(self, nginx: Nginx, settings: FrontSettings, folder: Path, record: ServerRecord, door: Door) -> None:
        self.nginx = nginx
        self.folder = folder
        self.rest_url = f"{'http' if settings.tls is None else 'https'}://{settings.host}:{settings.rest_port}"
        self.grpc_target = f"{settings.host}:{settings.grpc_port}"
        self._settings = settings
        self._record = record
        self._door = door

    def follow_keys(self) -> None:
        """Go on with the server's new keys where it was started anew."""
        key_maps = _key_maps(self._record, self._door)
        if key_maps == self._settings.key_maps or not self._record.key_file.exists():
            return  # while it is away those that it had stay
        self._settings = replace(self._settings, key_maps=key_maps)
        self.nginx.change(build_config(TEMPLATE.read_text(encoding="utf-8"), self._settings))
        say("The server was started anew: the front goes on with its new key.")


@contextmanager
def running_front(
    record: ServerRecord,
    port: int | None = None,
    grpc_port: int | None = None,
    *,
    door: Door | None = None,
    workers: int = 1,
    tries: int = DEFAULT_TRIES,
) -> Iterator[Front]:
    """Run nginx and what answers its /ready while the block runs.

    Args:
        record: the server behind it.
        port: the REST port; None takes the usual one, or a free one.
        grpc_port: the gRPC port, in the same way.
        door: where and how it listens; None is this machine alone, with the server's own keys.
        workers: how many READY workers it takes for /ready.
        tries: how often a prediction is tried.

    Raises:
        CommandError: when there is no nginx, or it does not start.
    """
    from cli.draining import drain_front  # noqa: PLC0415
    from cli.holding import is_held  # noqa: PLC0415
    from cli.kserve_bridge import bridging  # noqa: PLC0415 - help must not wait for gRPC and the JRE's package
    from cli.ready_server import serving  # noqa: PLC0415
    from cli.truth import Watch  # noqa: PLC0415

    if record.tls_certificate is not None:
        raise CommandError(
            "The server behind speaks TLS itself.",
            remedy="Start it without --tls-cert: it listens on this machine alone, and the front speaks TLS.",
        )
    door = door or Door()
    run_dir = Path(record.run_dir)
    program, folder = find_nginx(), run_dir / FOLDER_NAME
    ports = _ports(port, grpc_port)
    with (
        Watch(run_dir, at_least=workers) as watch,
        serving(lambda: _state(watch, folder), 0, lambda: is_held(folder)) as ready_port,
        bridging(record.grpc_target) as kserve_port,
    ):
        key_maps = _key_maps(record, door)
        settings = _settings(record, door.host, (*ports, ready_port), tries, key_maps)
        settings = replace(settings, kserve_port=kserve_port, tls=door.tls)
        nginx = Nginx(program, folder, build_config(TEMPLATE.read_text(encoding="utf-8"), settings))
        remove_mark(folder)
        try:
            nginx.start(door.host, ports)
            yield Front(nginx, settings, folder, record, door)
            drain_front(folder)
        finally:
            nginx.stop()
            remove_mark(folder)


def _key_maps(record: ServerRecord, door: Door) -> str:
    try:
        return build_key_maps(record.tokens().inference, door.own_keys)
    except CommandError:  # the server is away, or just writing them: it refuses strangers itself
        return build_open_key_maps()


def _state(watch: Watch, folder: Path) -> Readiness:
    found = watch.state()
    return replace(found, ready=False, reason=REASON) if is_draining(folder) else found


def _check_ports(record: ServerRecord) -> None:
    """A server that was started anew has other ports where those that it had were not asked for."""
    now = ServerRecord.read(Path(record.run_dir))
    if now is not None and now.ports != record.ports:
        raise CommandError(
            "The server was started anew, with other ports than those behind this front.",
            remedy="Start the front again. A server keeps its ports where they are named: `activity serve --port ...`.",
        )


def _config(record: ServerRecord, host: str, ports: tuple[int, int], tries: int, tls: Tls | None) -> str:
    template = TEMPLATE.read_text(encoding="utf-8")
    key_maps = build_open_key_maps() if record.token_authorization else build_key_maps(None)
    settings = _settings(record, host, (*ports, find_free_port(set(ports))), tries, key_maps)
    return build_config(template, replace(settings, tls=tls))


def _settings(record: ServerRecord, host: str, ports: tuple[int, int, int], tries: int, key_maps: str) -> FrontSettings:
    properties = read_properties(Path(record.run_dir) / "config.properties")
    return FrontSettings(
        host=host,
        rest_port=ports[0],
        grpc_port=ports[1],
        server_rest_port=record.ports.inference,
        server_grpc_port=record.ports.grpc_inference,
        ready_port=ports[2],
        max_request_bytes=int(properties.get("max_request_size", TORCHSERVES_REQUEST_BYTES)),
        key_maps=key_maps,
        at_once=int(properties.get("job_queue_size", TORCHSERVES_QUEUE)),
        tries=tries,
    )


def _ports(port: int | None, grpc_port: int | None) -> tuple[int, int]:
    chosen: list[int] = []
    for asked, usual in ((port, USUAL_REST_PORT), (grpc_port, USUAL_GRPC_PORT)):
        number = asked or usual
        if number in chosen or not is_free(number):
            if asked is not None:
                raise CommandError(f"Port {asked} is taken.", remedy="Name another one, or leave the option out.")
            number = find_free_port(set(chosen))
            say(f"Port {usual} is taken; using {number}.")
        chosen.append(number)
    return chosen[0], chosen[1]
