"""Many hosts, one run: each answers its own share of the tasks and waits for no other.

The tasks need nothing of each other, so a host runs its share on its own
devices (`runtime/mesh.py`) and leaves one file a task in a folder that all
hosts reach: a shared disk, or an object store by its URL (gs://, s3://, whatever
fsspec knows). A file is written whole and never changed, as object stores
cannot append. Host 0 waits until every task has its file and merges them into
the run directory. A host that dies and comes back passes over the tasks that
have files, its own or another's; so does a run that goes on with more or fewer hosts.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import jax

from ttt_jax.config import HostsConfig
from ttt_jax.config_loader import diff, from_yaml, to_yaml
from ttt_jax.runtime.files import dumps, replacing
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.journal import Record
from ttt_jax.runtime.run_dir import FREE_OPTIONS, RunDir, RunDirError

T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """This process among those of the run."""

    index: int = 0
    count: int = 1

    def share(self, items: Sequence[T], key: Callable[[T], str], cost: Callable[[T], float] = lambda _: 1.0) -> list[T]:
        """The items of this host, in the order in which they came.

        Neighbours in cost stay together, and what the hosts get adds up to about
        the same: so each meets few lengths, and compiles programs for these
        alone. Every host finds its share by itself, whatever the others have
        done; one of many may be left without any.

        Args:
          items: of all hosts.
          key: items of one key go to one host.
          cost: of an item, above 0, in any unit.
        """
        costs: dict[str, list[float]] = {}
        for item in items:
            costs.setdefault(key(item), []).append(cost(item))
        total, before, mine = sum(map(sum, costs.values())), 0.0, set()
        for name, own in sorted(costs.items(), key=lambda of: (max(of[1]), of[0])):
            middle = before + sum(own) / 2
            if min(int(self.count * middle / total), self.count - 1) == self.index:
                mine.add(name)
            before += sum(own)
        return [item for item in items if key(item) in mine]


def join(config: HostsConfig) -> Host:
    """This process's place; the first use of jax in a process of many.

    With `coordinator: auto` jax finds the others (Cloud TPU slices, SLURM, Open
    MPI, Kubernetes); with an address, `count` and `index` say the place; without
    a coordinator these two are all there is, and the hosts never speak.

    Raises:
      ValueError: the place is incomplete or impossible.
    """
    if config.coordinator is None:
        return Host(config.index or 0, config.count or 1)
    # A host that dies and comes back joins again; it takes the others along only where it is the coordinator, host 0.
    jax.config.update("jax_enable_recoverability", True)
    if config.coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(
            config.coordinator, config.count, config.index, cluster_detection_method="deactivate"
        )
    return Host(jax.process_index(), jax.process_count())


class Results:
    """Files of finished tasks below a folder or URL, one a task, each whole or absent."""

    def __init__(self, url: str | Path):
        self.fs, self.root = fsspec.core.url_to_fs(str(url))
        self.fs.makedirs(self.root, exist_ok=True)

    @classmethod
    def open(cls, url: str | Path, config: Any) -> Results:
        """The folder of a run; marked as such by the first host that comes.

        Raises:
          RunDirError: it holds results of another config; says what differs.
        """
        results = cls(url)
        file = f"{results.root}/config.yaml"
        if not results.fs.exists(file):
            results._write("config.yaml", to_yaml(config).encode())
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "config.yaml"
            local.write_bytes(results.fs.cat_file(file))
            differences = diff(from_yaml(type(config), local), config, ignore=FREE_OPTIONS)
        if differences:
            listed = "".join(f"\n  {line}" for line in differences)
            raise RunDirError(f"{url}: holds results of another config (there != here):{listed}")
        return results

    def ids(self) -> set[str]:
        """The tasks that are finished, by whichever host."""
        self.fs.invalidate_cache()
        names = (Path(path).name for path in self.fs.ls(self.root, detail=False))
        return {name.removesuffix(".zip") for name in names if name.endswith(".zip") and not name.startswith(".")}

    def save(
        self,
        record: Record,
        *,
        candidates: dict[str, Any] | None = None,
        curves: dict[str, Any] | None = None,
        adapter: Callable[[Path], None] | None = None,
    ) -> None:
        """Writes a task's file; arguments are those of `RunDir.save`.

        Raises:
          ValueError: the task's id cannot be a file name.
        """
        task = record["task"]
        if not task or task.startswith(".") or Path(task).name != task:
            raise ValueError(f"task {task!r}: its id names its file, so it must be a file name without a dot first")
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
            for name, value in (("record", record), ("candidates", candidates), ("curves", curves)):
                if value is not None:
                    file.writestr(f"{name}.json", dumps(value))
            if adapter is not None:
                with tempfile.TemporaryDirectory() as folder:
                    adapter(Path(folder) / "adapter.safetensors")
                    file.write(Path(folder) / "adapter.safetensors", "adapter.safetensors")
        self._write(f"{task}.zip", content.getvalue())

    def load(self, task: str) -> dict[str, Any]:
        """What `save` was given, as the arguments of `RunDir.save`."""
        with zipfile.ZipFile(io.BytesIO(self.fs.cat_file(f"{self.root}/{task}.zip"))) as file:
            names = file.namelist()
            found: dict[str, Any] = {
                name: json.loads(file.read(f"{name}.json")) if f"{name}.json" in names else None
                for name in ("record", "candidates", "curves")
            }
            data = file.read("adapter.safetensors") if "adapter.safetensors" in names else None
        return {**found, "adapter": None if data is None else lambda path: path.write_bytes(data)}

    def _write(self, name: str, data: bytes) -> None:
        if "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)):
            with replacing(Path(self.root) / name) as file:
                file.write_bytes(data)
        else:  # an object appears when all of it is there
            self.fs.pipe_file(f"{self.root}/{name}", data)


@dataclass(frozen=True)
class HostRun:
    """What one of many hosts finishes: `finished` and `save` of a `RunDir`, kept in `Results`."""

    results: Results

    def finished(self) -> dict[str, Record]:
        """An entry for each finished task, of whichever host; the records themselves are in the files."""
        return {task: {"task": task} for task in self.results.ids()}

    def save(self, record: Record, **files: Any) -> None:
        self.results.save(record, **files)


def gather(
    results: Results,
    tasks: Iterable[str],
    run_dir: RunDir,
    interrupted: Callable[[], bool] = lambda: False,
    poll: float = 5.0,
    report: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> None:
    """Host 0: waits until every task has its file, and merges them into the run directory as they come.

    Args:
      results: of all hosts.
      tasks: ids of all tasks of the run.
      run_dir: takes what it does not have.
      interrupted: asked while waiting.
      poll: seconds between looks.
      report: told, once a minute, how many tasks are still missing.

    Raises:
      Interrupted: `interrupted` said so; what has come is merged.
    """
    tasks, told = sorted(set(tasks)), time.monotonic()
    while True:
        there = results.ids()
        for task in sorted(there.intersection(tasks) - run_dir.finished().keys()):
            run_dir.save(**results.load(task))
        missing = [task for task in tasks if task not in there and task not in run_dir.finished()]
        if not missing:
            return
        if interrupted():
            raise Interrupted
        if time.monotonic() - told > 60:
            told = time.monotonic()
            report(f"waiting for {len(missing)} tasks of other hosts, {', '.join(missing[:3])} ...")
        time.sleep(poll)
