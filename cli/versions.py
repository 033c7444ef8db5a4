"""From one version of a server's model to another while requests come in."""

from __future__ import annotations

import filecmp
import json
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cli.archive_check import MANIFEST, check_archive, write_sum
from cli.errors import CommandError
from cli.probe import find_live_workers
from cli.progress import say, step
from cli.properties import read_properties
from cli.readiness import Waiting, build_management
from cli.record import ServerRecord
from cli.scaling import check_canary, scale_model, wait_for_quiet
from client.errors import ClientError
from client.management import ManagementClient, ModelVersion

NOTICE_SECONDS = 3.0
"""How long the version that is left keeps its workers at least: who watches the server sees the new one by then."""
ROLLOUT_NAME = "rollout.json"


@dataclass(frozen=True)
class Switch:
    """How a server goes to another version."""

    timeout_seconds: float
    """Until the other version is ready."""
    quiet_seconds: float
    """How long the version that is left is waited for to have done its work."""
    keep_warm: bool = False
    """Leave it its workers."""


@dataclass(frozen=True)
class Rollout:
    """The last roll-out of a server, in its run folder: the way back."""

    server_pid: int
    server_began_ticks: int
    """The server that it was of; one that is started anew has no way back."""
    previous: str
    """The version before it."""
    archive: str
    """That version's archive; absolute."""

    def write(self, run_dir: Path) -> None:
        """Write it for :meth:`read`."""
        path = run_dir / ROLLOUT_NAME
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, record: ServerRecord) -> Rollout | None:
        """The last roll-out of this server, or None when there was none."""
        try:
            found = cls(**json.loads((Path(record.run_dir) / ROLLOUT_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        same = (found.server_pid, found.server_began_ticks) == (record.pid, record.began_ticks)
        return found if same else None


def roll_out(record: ServerRecord, archive: Path, switch: Switch, *, sha256: str | None = None) -> ServerRecord:
    """Register an archive beside the version that answers, and let it answer instead once it is proved.

    Args:
        record: the server.
        archive: the archive, which is copied into the server's model store where it stands elsewhere.
        switch: how it goes to the other version.
        sha256: the archive's, as its maker told it; None is what the file beside it says.

    Returns:
        The server's record, which names the new archive now.

    Raises:
        CommandError: when the server takes no archives, this is none or not the one that was packaged, or its version
            is there already; when it does not load or its canary comes back wrong, in which case it is gone again and
            nothing has changed.
    """
    _require_model_api(record)
    version = read_version(archive)
    with step("Checking the archive"):
        digest = check_archive(archive, sha256=sha256)
    with build_management(record, timeout_seconds=switch.timeout_seconds) as management:
        old = management.describe(record.model)[0]
        _check_new(management, record, version)
        name = _put_into_store(archive, Path(record.archive).parent, version, digest)
        try:
            with step(f"Registering version {version}"):
                management.register(name, name=record.model, workers=0, synchronous=False)
            _prove(record, version, len(old.workers), switch)
        except BaseException:
            _take_away(management, record, version)
            raise
        _forget_previous(management, record, old)
        Rollout(record.pid, record.began_ticks, old.version, record.archive).write(Path(record.run_dir))
        return _go_to(management, record, old, version, str(Path(record.archive).parent / name), switch)


def roll_back(record: ServerRecord, switch: Switch) -> ServerRecord:
    """Let the version before the last roll-out answer again.

    Returns:
        The server's record, which names that version's archive.

    Raises:
        CommandError: when there was no roll-out, or that version does not get ready; then nothing has changed.
    """
    last = Rollout.read(record)
    if last is None:
        raise CommandError(
            "This server has had no roll-out: there is nothing to go back to.",
            remedy="See the registered versions with `activity status`.",
        )
    with build_management(record, timeout_seconds=switch.timeout_seconds) as management:
        old = management.describe(record.model)[0]
        _prove(record, last.previous, len(old.workers), switch)
        Rollout(record.pid, record.began_ticks, old.version, record.archive).write(Path(record.run_dir))
        return _go_to(management, record, old, last.previous, last.archive, switch)


def read_version(archive: Path) -> str:
    """The version that an archive says it is.

    Raises:
        CommandError: when it is no archive.
    """
    try:
        with zipfile.ZipFile(archive) as mar:
            return str(json.loads(mar.read(MANIFEST))["model"]["modelVersion"])
    except (OSError, zipfile.BadZipFile, ValueError, KeyError) as exc:
        raise CommandError(
            f"{archive} is no archive.", remedy="Build one with `activity package -o FILE.mar --version VERSION`."
        ) from exc


def _require_model_api(record: ServerRecord) -> None:
    if read_properties(Path(record.run_dir) / "config.properties").get("enable_model_api") != "true":
        raise CommandError(
            "This server takes no further archives: registering loads code, so it is off until asked for.",
            remedy="Start it with `activity serve --enable-model-api`.",
        )


def _check_new(management: ManagementClient, record: ServerRecord, version: str) -> None:
    if version in {each.version for each in management.describe(record.model, "all")}:
        raise CommandError(
            f"The server has version {version} already.",
            remedy="Package with another --version, or go back to that one with `activity rollback`.",
        )


def _put_into_store(archive: Path, store: Path, version: str, sha256: str) -> str:
    """The archive's file name in the model store, the only place that a server loads from; it is copied there."""
    if archive.resolve().parent == store.resolve():
        return archive.name
    target = store / archive.name
    if target.exists() and not filecmp.cmp(archive, target, shallow=False):
        target = store / f"{archive.stem}-{version}{archive.suffix}"
        if target.exists() and not filecmp.cmp(archive, target, shallow=False):
            raise CommandError(f"Another file is at {target} already.", remedy="Give the archive another name.")
    if not target.exists():
        draft = target.with_suffix(".tmp")
        shutil.copyfile(archive, draft)
        draft.replace(target)
        write_sum(target, sha256)
        say(f"Copied {archive} to {target}: a server loads archives from its model store alone.")
    check_archive(target, sha256=sha256)  # what is loaded is the copy
    return target.name


def _forget_previous(management: ManagementClient, record: ServerRecord, old: ModelVersion) -> None:
    """Unregister the version before the one that answers: there is one way back, to this one."""
    last = Rollout.read(record)
    kept = {each.version for each in management.describe(record.model, "all")}
    if last is not None and last.previous in kept - {old.version}:
        with step(f"Unregistering version {last.previous}"):
            management.unregister(record.model, last.previous)


def _prove(record: ServerRecord, version: str, workers: int, switch: Switch) -> None:
    """Give a version its workers and ask its canary; no request that names no version goes to it yet."""
    waiting = Waiting(record, timeout_seconds=switch.timeout_seconds)
    scale_model(record, max(workers, 1), waiting, version=version)


def _take_away(management: ManagementClient, record: ServerRecord, version: str) -> None:
    try:
        management.unregister(record.model, version)
    except ClientError:
        return  # it was not registered
    say(f"Took version {version} away again; nothing has changed.")


def _go_to(
    management: ManagementClient, record: ServerRecord, old: ModelVersion, version: str, archive: str, switch: Switch
) -> ServerRecord:
    with step(f"Version {version} answers from now on"):
        management.set_default(record.model, version)
    check_canary(record, management.describe(record.model)[0], timeout_seconds=switch.timeout_seconds)
    changed = replace(record, archive=archive)
    changed.write()
    if not switch.keep_warm:
        _retire(management, record, old.version, switch)
    return changed


def _retire(management: ManagementClient, record: ServerRecord, version: str, switch: Switch) -> None:
    """Take the workers of a version away once it has nothing to do; it stays registered."""
    with step(f"Waiting for quiet in version {version}") as shown:
        time.sleep(NOTICE_SECONDS)
        described = management.describe(record.model, version)[0]
        quiet = wait_for_quiet(find_live_workers(described), timeout_seconds=switch.quiet_seconds)
        if not quiet or management.describe(record.model, version)[0].pending_requests:
            shown.result("there is none")
            say(f"Version {version} is still asked by name, so it keeps its workers.")
            return
    with step(f"Taking the workers of version {version} away"):
        management.scale(record.model, workers=0, version=version, synchronous=True)
