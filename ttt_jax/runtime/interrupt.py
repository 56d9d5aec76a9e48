"""SIGTERM and Ctrl-C: finish the chunk in hand, save, and leave."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interrupted(Exception):
    """The run was asked to leave; what is finished is saved."""


class Interrupt:
    """Turns the first signal into a flag that is looked at between chunks; the second one kills.

        with Interrupt() as interrupt:
            while work and not interrupt.requested:
                ...                                   # one chunk; save
        if interrupt.requested:
            sys.exit(interrupt.exit_status)

    Only the main thread may use it (Python delivers signals there).
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    @property
    def requested(self) -> bool:
        """Whether the run has been asked to leave."""
        return self._signal is not None

    @property
    def exit_status(self) -> int:
        """143 after SIGTERM and 130 after Ctrl-C, as shells count (128 + signal); 0 where none came.

        Neither 1 (an error) nor 2 (a wrong option): what was finished is saved,
        and the same command goes on with the rest.
        """
        return 0 if self._signal is None else 128 + self._signal

    def __enter__(self) -> Interrupt:
        for number in _NAMES:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._signal = number
        # os.write: a handler may run in the middle of a print to the same stream.
        message = f"\n{_NAMES[signal.Signals(number)]}: finishing the chunk in hand, then saving; once more to kill\n"
        os.write(sys.stderr.fileno() if sys.stderr is sys.__stderr__ else 2, message.encode())
