"""What a run ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


_GRAPHS = "--xla_gpu_enable_command_buffer="


def launch_without_graphs() -> None:
    """Sets an XLA flag before jax starts its backend, if $XLA_FLAGS does not say otherwise.

    XLA captures parts of a program as CUDA graphs when it first runs. On H200 (jax 0.11.2) three processes of eight
    broke off there ("capturing stream has unjoined work", or invalid arguments), and one of the next four with cuDNN's
    kernels kept out of graphs. Without graphs it is rarer, one process of about twenty ("invalid argument"), and that
    one begins anew by itself (`runtime/restart.py`). The cause is not known. Without graphs a token of decoding at a
    context of 2,048 takes 4% longer (docs/performance.md).
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _GRAPHS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_GRAPHS}".strip()


def describe_device() -> dict[str, Any]:
    """The accelerator that jax uses: {"platform", "kind", "count", "processes"}; on a CPU also its cores."""
    devices = jax.devices()
    device: dict[str, Any] = {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processes": jax.process_count(),
    }
    if devices[0].platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        device |= {"kind": _cpu_name(), "cores": cores}
    return device


def versions() -> dict[str, str]:
    """Versions of Python, of what computes, and of this package."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = importlib.metadata.version(package)
    from ttt_jax import __version__

    return found | {"ttt_jax": __version__}


def compute_dtype(name: str) -> DTypeLike:
    """The compute type of `RunConfig.dtype`: `auto` is float32 on a CPU and bfloat16 elsewhere."""
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: expected auto, float32 or bfloat16, found {name!r}")
    return jnp.dtype(name)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:  # not Linux
        names = []
    return names[0] if names else platform.machine()
