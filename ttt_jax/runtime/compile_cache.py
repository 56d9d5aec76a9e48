"""The persistent compilation cache of accelerators."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def enable_compile_cache() -> None:
    """Keeps compiled programs in $JAX_COMPILATION_CACHE_DIR, else in ~/.cache/ttt_jax/xla.

    Not on a CPU: programs compiled for one processor may not run on another
    that shares the home directory.
    """
    if jax.default_backend() == "cpu" or jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ttt_jax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
