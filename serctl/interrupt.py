"""Ctrl-C and SIGTERM: one way to stop, so that whatever is stopped keeps its finished work."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Of the user, and of a cluster whose time is up."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does.

    The default would end the process at once: stores would lose what they gathered since their
    last commit. Outside the main thread, which alone receives signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM of the block into a set event; a second acts at once.

    Outside the main thread, which alone receives signals, the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in STOPPING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in STOPPING:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()
