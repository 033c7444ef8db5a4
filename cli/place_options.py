"""The options that say who is asked, as every command that asks has them (:class:`cli.asking.Place`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.record import RUN_DIR_VARIABLE

OptionsJson = Annotated[str | None, typer.Option(help="Options of the request, one JSON object.", metavar="JSON")]
Grpc = Annotated[bool, typer.Option("--grpc", help="Ask by gRPC instead of REST.")]
Local = Annotated[bool, typer.Option("--local", help="Predict in this process, without a server.")]
LocalCheckpoint = Annotated[Path, typer.Option(help="The model that --local uses.", show_default="model-store/demo")]
Server = Annotated[
    str | None,
    typer.Option(
        help="Address of another server: http://HOST:PORT or https://HOST:PORT; with --grpc HOST:PORT or the latter.",
        metavar="ADDRESS",
    ),
]
RestServer = Annotated[str | None, typer.Option(help="Address of another server: http://HOST:PORT.", metavar="ADDRESS")]
Token = Annotated[
    str | None, typer.Option(help="That server's inference key.", envvar="ACTIVITY_TOKEN", show_envvar=True)
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="That server is trusted by these certificates, PEM, in place of the machine's own.",
        envvar="ACTIVITY_CA",
        show_envvar=True,
        exists=True,
        dir_okay=False,
    ),
]
ModelName = Annotated[str | None, typer.Option(help="The model's registered name.", show_default="activity")]
ModelVersion = Annotated[str | None, typer.Option(help="A version of it.", show_default="the default one")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0.1)]
ServerRunDir = Annotated[
    Path | None, typer.Option(help="Run folder of the server.", envvar=RUN_DIR_VARIABLE, show_default=".activity")
]
