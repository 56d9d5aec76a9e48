"""Task files that lie elsewhere: a URL as a folder on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import fsspec


def local(path: str, wanted: Callable[[str], bool]) -> Path:
    """A path as it is, a URL as the folder that its files were copied to.

    They are copied once: later runs read the copy, in $XDG_CACHE_HOME (else
    ~/.cache) /ttt_jax/tasks, which may be deleted.

    Args:
      path: a path, or the URL of a folder that fsspec can list: `hf://datasets/OWNER/NAME/FOLDER`,
        `github://OWNER:NAME@BRANCH/FOLDER`, `gs://`, `s3://` ...
      wanted: which of the folder's files, by name.

    Raises:
      ValueError: the folder cannot be read, or has no such file.
    """
    if "://" not in path:
        return Path(path)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ttt_jax" / "tasks"
    folder = cache / hashlib.blake2b(path.encode(), digest_size=12).hexdigest()
    if folder.is_dir():
        return folder
    unfinished = folder.with_name(f".{os.getpid()}.unfinished.{folder.name}")
    try:
        fs, root = fsspec.core.url_to_fs(path)
        names = [name for name in fs.ls(root, detail=False) if wanted(PurePosixPath(name).name)]
        if not names:
            raise FileNotFoundError("it holds no task file")
        unfinished.mkdir(parents=True)
        for name in names:
            fs.get_file(name, str(unfinished / PurePosixPath(name).name))
        os.replace(unfinished, folder)
    except Exception as error:  # each kind of storage has errors of its own
        if folder.is_dir():  # another process was faster
            return folder
        raise ValueError(f"tasks.path: {path}: cannot be read: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
