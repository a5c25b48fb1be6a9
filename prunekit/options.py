"""What the command line needs beside the library: reading its options, and stopping after a given time."""

import _thread
import contextlib
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer


def shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)+", text):
        raise typer.BadParameter(f"{text!r} is no shape; write 1,3,32,32", param_hint="--input")
    return tuple(map(int, text.split(",")))


def pairs(texts: Sequence[str], kind: Callable[[str], Any], option: str) -> dict[str, Any]:
    """LAYER=VALUE as a dict; a VALUE alone is for the name ""."""
    found = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if equals and not name:
            raise typer.BadParameter(f"{text!r} names no layer", param_hint=option)
        if name in found:
            again = f"for {name!r}" if name else "for all layers"
            raise typer.BadParameter(f"{text!r} is the second {again}", param_hint=option)
        try:
            found[name] = kind(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r}: {value!r} is no number", param_hint=option) from None
    return found


def share(text: str | None) -> tuple[int, int]:
    """K/N as (K, N); without a text all of it, (1, 1)."""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text or "1/1")
    if not found or int(found[1]) > int(found[2]):
        raise typer.BadParameter(f"{text!r} is no share; write 1/3, 2/3 or 3/3, say", param_hint="--shard")
    return int(found[1]), int(found[2])


def seconds(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = sum(int(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no time; write 90s, 45m, 2h or 1h30m", param_hint="--for")
    return seconds


@contextlib.contextmanager
def stopping_after(seconds: float | None) -> Iterator[None]:
    """End the block after `seconds`, as Ctrl-C would, and say so; without a number it runs to its end."""
    if seconds is None:
        yield
        return
    up = threading.Event()

    def end() -> None:
        up.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # a shell starts background commands so, and nothing would interrupt them
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        try:
            yield
        finally:  # inside of what catches the interrupt: it may come when all is done, but not after this
            timer.cancel()
            timer.join()
    except KeyboardInterrupt:
        if not up.is_set():  # the user's own Ctrl-C
            raise
        typer.echo("Time is up. Nothing measured is lost: the same command goes on from here.")
    finally:
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
