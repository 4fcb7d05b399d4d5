"""One part of the work on a manifest: its utterances, and the batches to encode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serctl.data.manifest import Utterance
from serctl.encoders.base import Encoder
from serctl.encoding.failures import Failures, check_failures
from serctl.encoding.pipeline import Content, ids_of, measure_sizes, plan_rows
from serctl.errors import SerctlError


@dataclass(frozen=True)
class Part:
    """The utterances and batches of one part of the work.

    Attributes:
        seen: Utterances of this part. Parts do not overlap.
        missing: Utterances of this part to encode.
        sizes: Samples or tokens of the missing utterances.
        batches: Batches with missing utterances.
        failures: Utterances of this part that cannot be encoded.
    """

    seen: frozenset[str]
    missing: set[str]
    sizes: list[int]
    batches: list[list[Utterance]]
    failures: Failures


def plan_part(
    rows: Sequence[Utterance],
    content: Content[Utterance],
    encoder: Encoder,
    find_missing: Callable[[Sequence[Utterance]], set[str]],
    *,
    seconds: float,
    part: tuple[int, int],
    skip_bad: bool,
) -> Part:
    """Return part i of n: every n-th batch from the i-th on, and every n-th failure.

    The batches are sorted by length, so the parts take similar times.

    Args:
        rows: All utterances of the manifest, sorted by id.
        content: Waveforms or transcripts of the rows.
        encoder: Measures the cost of an utterance.
        find_missing: Returns the utterances of the part to encode.
        seconds: Padded seconds of a batch.
        part: i and n.
        skip_bad: Whether utterances may be unreadable.

    Raises:
        SerctlError: An utterance of any part cannot be encoded.
    """
    sizes = measure_sizes(rows, content, encoder)
    by_id = dict(zip((row.utterance_id for row in rows), sizes, strict=True))
    failures = {name: it for name, it in by_id.items() if isinstance(it, SerctlError)}
    check_failures(failures, skip_bad, rows)
    own = slice(part[0] - 1, None, part[1])
    failures = dict(list(failures.items())[own])
    batches = plan_rows(rows, sizes, encoder, seconds)[own]
    seen = set().union(*map(ids_of, batches), failures)
    missing = find_missing([row for row in rows if row.utterance_id in seen])
    return Part(
        seen=frozenset(seen),
        missing=missing,
        sizes=[size for name in missing if isinstance(size := by_id[name], int)],
        batches=[b for b in batches if not missing.isdisjoint(row.utterance_id for row in b)],
        failures=failures,
    )
