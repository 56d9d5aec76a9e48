"""A process whose device failed begins anew: what is finished is in its journal, so it goes on from there."""

from __future__ import annotations

import os
import sys
import time

from ttt_jax.runtime.memory import out_of_memory

DEVICE_FAILED = 5
"""Exit status of a run whose device failed: what is finished is kept, the same command goes on."""
RESTARTS = 2
"""So often a command begins anew by itself."""
COUNT = "TTT_JAX_RESTARTS"
"""The environment variable that counts them."""
SPENT = "TTT_JAX_SECONDS_SPENT"
"""The environment variable that says how many seconds the processes before this one have taken."""
_BEGAN = time.monotonic()


def seconds_spent() -> float:
    """What earlier processes of this command have used of its budget; 0 in the first."""
    return float(os.environ.get(SPENT, "0"))


def after_failure(error: Exception, finished: int) -> int:
    """Says on stderr how far a run has come whose device failed; its exit status. Raises `error` if it is another.

    Memory that runs out is not a failed device: a new process would run out of it too.
    """
    if out_of_memory(error) or not any(name in str(error) for name in ("CUDA", "cuDNN", "ROCM")):
        raise error
    reason = str(error).splitlines()[0]
    print(f"the device failed with {finished} tasks finished; the same command goes on: {reason}", file=sys.stderr)
    return DEVICE_FAILED


def again_if_failed(status: int) -> int:
    """For scripts: replaces this process by one of the same command where its device failed, `RESTARTS` times at most.

    Returns:
      `status`, where it says something else, or the restarts are used up.
    """
    made = int(os.environ.get(COUNT, "0"))
    if status == DEVICE_FAILED and made < RESTARTS:
        print(f"starting again ({made + 1} of at most {RESTARTS})", file=sys.stderr, flush=True)
        sys.stdout.flush()
        spent = seconds_spent() + time.monotonic() - _BEGAN
        told = {**os.environ, COUNT: str(made + 1), SPENT: str(spent)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], told)
    return status
