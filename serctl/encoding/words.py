"""Transcripts whose audio, or whose text in the manifest, has changed since they were made."""

from collections.abc import Iterable
from contextlib import suppress

from serctl.cache.sources import SourceHasher, hash_bytes
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.transcripts import FROM_MANIFEST, read_rows, read_source, transcribe_command
from serctl.encoding.failures import find_source
from serctl.encoding.inputs import AudioInputs
from serctl.errors import TranscriptsError, count, first_few


def find_old_transcripts(
    workspace: Workspace, rows: Iterable[Utterance], hasher: SourceHasher
) -> list[str]:
    """Return a warning that names the utterances with old transcripts.

    No audio is read: a file that was never hashed is not compared. Transcripts that were corrected
    in their file are not old.
    """
    source = read_source(workspace.transcripts)
    made: dict[str, str] = {}
    with suppress(TranscriptsError):
        made = {one.utterance_id: one.audio for one in read_rows(workspace.transcripts)}
    hash_of = AudioInputs(hasher, saved=True).hash_of
    old = []
    for row in rows:
        if then := made.get(row.utterance_id, ""):
            given = hash_bytes((row.transcript or "").encode())
            now = given if source == FROM_MANIFEST else find_source(hash_of, row)
            old += [row.utterance_id] if now not in ("", then) else []
    if not old:
        return []
    command, named = transcribe_command(source), first_few(sorted(old))
    if source == FROM_MANIFEST:
        what = count(len(old), "utterance")
        return [f"The manifest has other transcripts of {what} ({named}) now. Run: {command}"]
    return [
        f"The audio of {count(len(old), 'utterance')} ({named}) has changed since it was "
        f"transcribed. Run: {command}"
    ]
