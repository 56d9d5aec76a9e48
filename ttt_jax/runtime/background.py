"""Work that must not keep the device waiting, such as writing files, done in order by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """Runs what it is given, in order, in a thread. Use as a context manager: leaving it waits for all of it.

    An error is raised in the caller's thread at the next `run`, or on leaving;
    what was given after the piece that failed is not run.

    Args:
      waiting: pieces that may wait; then `run` blocks, so that memory stays bounded.
    """

    def __init__(self, waiting: int = 64):
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._queue.put(None)
        self._thread.join()
        # An error of the block itself comes first.
        if error is None:
            self._raise()

    def run(self, piece: Callable[[], None]) -> None:
        """Gives the thread a piece of work."""
        self._raise()
        self._queue.put(piece)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            if self._error is None:
                try:
                    piece()
                except BaseException as error:
                    self._error = error
