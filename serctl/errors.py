"""All errors that a user can cause, with their exit codes.

A message is one line: the value, the expectation and the next command.
"""

import copyreg
import errno
import re
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, marks of text direction, and surrogates."""
SLIP = 0.85
"""Ratio of `difflib` from which a name is a slip of typing; a letter of seven."""


class SerctlError(Exception):
    """Base of all errors that a user can cause and fix."""

    exit_code = 1


class UsageError(SerctlError):
    """Contradictory flags, or an unknown value or name."""

    exit_code = 2


class ConfigError(SerctlError):
    """A project, recipe or run file that cannot be read or holds an unknown key."""


class ManifestError(SerctlError):
    """A manifest that is malformed or inconsistent."""


class CorpusError(SerctlError):
    """A corpus folder that does not look like the official release."""


class TranscriptsError(SerctlError):
    """Transcripts that are missing, unfinished or malformed."""


class AudioError(SerctlError):
    """Audio that is missing, unreadable, empty, silent or not finite."""


class WeightsError(SerctlError):
    """Weights that cannot be found, do not fit the architecture or are damaged."""


class CacheError(SerctlError):
    """A feature store that is damaged, locked or of another format."""


class MissingFeaturesError(CacheError):
    """Frames that training or export needs and no store holds."""


class CheckpointError(SerctlError):
    """A run or stacker directory that is incomplete or does not fit."""


class LogitsError(SerctlError):
    """Logits that do not match in utterances, labels or values."""


class ReportError(SerctlError):
    """An evaluation that is missing or cannot be shown."""


class HubError(SerctlError):
    """A hub repository that is missing, private or unreachable, or refuses a request."""


class UnknownNameError(UsageError):
    """A name that is not in a catalogue. ``none`` is said if the catalogue is empty."""

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        hint: str = "",
        none: str = "There are none yet.",
    ) -> None:
        known = sorted(known)
        hint = f" {hint}" if hint else ""
        listed = f"Known: {', '.join(known)}." if known else none
        super().__init__(f"Unknown {kind} '{name}'.{guess(name, known)} {listed}{hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message, so that the error can be raised in another process."""
        return copyreg.__newobj__, (type(self), *self.args)  # type: ignore[attr-defined]


def guess(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown name, for an error message; '' if none is similar.

    Initials and beginnings come first, then slips of typing, then names that are less alike.

    Example:
        >>> guess("wavml-large", ["wavlm-large", "roberta-large"])
        " Did you mean 'wavlm-large'?"
        >>> guess("emo", ["demo", "emodb"])
        " Did you mean 'emodb'?"
        >>> guess("--lr", ["--log", "--learning-rate"]), guess("batch", ["patch", "batch_size"])
        (" Did you mean '--learning-rate'?", " Did you mean 'batch_size'?")
    """
    known, short = list(known), name.strip("-_").lower().replace("_", "-")
    words = {one: one.strip("-_").lower().replace("_", "-").split("-") for one in known}
    initials = [one for one in known if "".join(word[:1] for word in words[one]) == short]
    begun = [one for one in known if "-".join(words[one]).startswith(short)]
    chosen = (
        (initials if len(short) > 1 else [])
        or (sorted(begun, key=len) if len(short) > 2 else [])
        or get_close_matches(name, known, n=1, cutoff=SLIP)
        or get_close_matches(name, known, n=1)
    )
    return f" Did you mean '{chosen[0]}'?" if chosen else ""


def refuse_twice(flag: str, names: Iterable[str]) -> None:
    """Refuse a flag of pairs such as ``--map OLD=NEW`` that names one thing twice.

    Raises:
        UsageError: The flag does.
    """
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(f"{flag} names '{twice[0]}' twice, expected once. Leave one out.")


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural.

    Example:
        >>> count(1, "model"), count(1200, "model")
        ('1 model', '1,200 models')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_size(size: float) -> str:
    """Return a number of bytes in kB, MB or GB.

    Example:
        >>> name_size(2_500), name_size(2_500_000), name_size(2_500_000_000)
        ('2.5 kB', '2.5 MB', '2.50 GB')
    """
    if size < 1e5:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:,.2f} GB" if size > 1e8 else f"{size / 1e6:.1f} MB"


def escape_controls(text: str) -> str:
    r"""Return text with control characters as escapes, so that a terminal does not execute them.

    File names and transcripts may hold them. Line feeds and tabs are kept.

    Example:
        >>> print(escape_controls("a\x1b[31m.wav"))
        a\x1b[31m.wav
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def first_few(items: Iterable[object], limit: int = 3) -> str:
    """Return the first items and a count of the rest, for an error message.

    Example:
        >>> first_few(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    listed = [str(item) for item in items]
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def show_value(value: object, limit: int = 60) -> str:
    """Return the repr of a wrong value in one line of limited length, for an error message.

    Example:
        >>> show_value("a" * 80, limit=10)
        "'aaaaaa..."
    """
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def explain_os_error(error: OSError) -> str:
    """Return why a file cannot be read or written and, for a full disk, what to do.

    Example:
        >>> explain_os_error(OSError(errno.ENOSPC, "No space left on device"))
        'No space left on device. Free space, then run the command again.'
    """
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = " Free space, then run the command again." if is_full else ""
    return f"{error.strerror or error}.{remedy}"
