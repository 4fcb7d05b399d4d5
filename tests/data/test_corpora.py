"""Importers: generated trees in the official layouts, and real folders if available."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.data.corpora import CORPORA, read_corpus
from serctl.data.corpora.scan import Corpus, note_unreadable
from serctl.data.folds import choose_folds
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.recordings import read_recordings
from serctl.errors import CorpusError, ManifestError, UnknownNameError, UsageError
from serctl.stages.init import Source, init_project
from serctl.stages.manifest import split_manifest


def tone(path: Path, period: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, np.sin(np.arange(400) / period) / 4, 8000, **how)
    return path


def table(path: Path, header: str, rows: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def by_id(corpus: Corpus) -> dict[str, Utterance]:
    return {row.utterance_id: row for row in corpus.utterances}


def test_every_importer_names_its_source() -> None:
    for spec in CORPORA.values():
        module = __import__(f"serctl.data.corpora.{spec.reader.split(':')[0]}", fromlist=["read"])
        assert "Source:" in module.__doc__
        assert "http" in module.__doc__.split("Source:")[1]


@pytest.mark.parametrize("name", CORPORA)
def test_a_wrong_root_is_reported(name: str, tmp_path: Path) -> None:
    tone(tmp_path / "music" / "song.wav").with_name("notes.txt").write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError) as error:
        read_corpus(name, empty)
    assert "empty" in str(error.value)
    with pytest.raises(CorpusError):
        read_corpus(name, tmp_path / "nowhere")


def test_an_unknown_corpus_is_reported_with_a_guess() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'crema-d'"):
        read_corpus("cremad", Path())


def test_emodb_reads_the_official_tree(tmp_path: Path) -> None:
    for name in ("03a01Fa", "03a01Nc", "08b10Wd", "11a05La", "16b02Td"):
        tone(tmp_path / "wav" / f"{name}.wav")
    tone(tmp_path / "wav" / "noise.wav")
    corpus = read_corpus("emodb", tmp_path)
    rows = by_id(corpus)
    assert [row.emotion for row in rows.values()] == ["happy", "neutral", "angry", "bored", "sad"]
    assert rows["08b10Wd"].speaker == "08"
    assert rows["08b10Wd"].extra["gender"] == "female"
    assert rows["08b10Wd"].transcript == "Die wird auf dem Platz sein, wo wir sie immer hinlegen."
    assert {row.split for row in rows.values()} == {""}
    assert corpus.notes == (
        "1 unexpected file names left out: noise.wav",
        "5 of 535 utterances found: the corpus is incomplete",
    )


def test_ravdess_reads_speech_and_leaves_song_and_second_copies_out(tmp_path: Path) -> None:
    for folder in ("Actor_12", "audio_speech_actors_01-24/Actor_12"):
        tone(tmp_path / folder / "03-01-06-01-02-01-12.wav")
    tone(tmp_path / "Actor_12" / "03-02-06-01-02-01-12.wav")
    corpus = read_corpus("ravdess", tmp_path)
    (row,) = corpus.utterances
    assert (row.emotion, row.speaker, row.extra["gender"]) == ("fear", "12", "female")
    assert row.transcript == "Dogs are sitting by the door"
    assert any("unexpected" in note for note in corpus.notes)
    assert any("found twice" in note for note in corpus.notes)


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder, period in (("lar", 12), ("wav", 9)):  # laryngogram and speech
        tone(tmp_path / folder / "03a01Fa.wav", period)
    with pytest.raises(CorpusError, match=r"lar/03a01Fa.wav and wav/03a01Fa.wav, expected one"):
        read_corpus("emodb", tmp_path)
    assert len(read_corpus("emodb", tmp_path / "wav").utterances) == 1


@pytest.mark.parametrize(("name", "count"), [("emodb", 339), ("ravdess", 1439)])
def test_names_and_tables_of_real_corpora_agree(test_data: Path, name: str, count: int) -> None:
    rows = by_id(read_corpus(name, test_data / name))
    with (test_data / name / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    assert len(rows) == count
    assert rows.keys() == labels.keys()
    for key, row in rows.items():
        assert row.emotion == labels[key]["emotion"]
        assert row.transcript == labels[key]["transcript"]
        assert labels[key]["speaker"].endswith(row.speaker)
        assert row.split == labels[key]["split"].replace("development", "dev")
    assert not Manifest(tuple(rows.values())).leaking_speakers()


def test_crema_d_takes_the_votes_of_listeners_only(tmp_path: Path) -> None:
    tone(tmp_path / "AudioWAV" / "1001_IEO_HAP_LO.wav")
    tone(tmp_path / "AudioWAV" / "1002_DFA_ANG_XX.wav")
    table(
        tmp_path / "processedResults" / "tabulatedVotes.csv",
        '"","A","D","F","H","N","S","fileName","numResponses"',
        [
            '"100002",0,0,0,3,6,0,"1001_IEO_HAP_LO",9',
            '"200002",0,0,0,9,0,0,"1001_IEO_HAP_LO",9',
            '"300002",0,0,0,8,1,0,"1001_IEO_HAP_LO",9',
        ],
    )
    table(tmp_path / "VideoDemographics.csv", '"ActorID","Age","Sex"', ['1001,51,"Male"'])
    rows = by_id(read_corpus("crema-d", tmp_path))
    happy = rows["1001_IEO_HAP_LO"]
    assert (happy.emotion, happy.speaker, happy.extra["gender"]) == ("happy", "1001", "male")
    assert happy.votes()["neutral"] == 6
    assert sum(happy.votes().values()) == 9
    assert rows["1002_DFA_ANG_XX"].votes() == {}


def test_crema_d_finds_the_numbers_of_its_votes_behind_another_index(tmp_path: Path) -> None:
    """Pandas writes an index before the others: 1 and 10 are no votes of the voice."""
    tone(tmp_path / "AudioWAV" / "1001_IEO_HAP_LO.wav")
    path = tmp_path / "tabulatedVotes.csv"
    header = ",Unnamed: 0,A,D,F,H,N,S,fileName"
    lines = ["0,100001,9,0,0,0,0,0,1001_IEO_HAP_LO", "1,200001,0,9,0,0,0,0,1001_IEO_HAP_LO"]
    table(path, header, lines)
    (row,) = read_corpus("crema-d", tmp_path).utterances
    assert row.votes()["angry"] == 9
    table(path, header, ["1,7,9,0,0,0,0,0,1001_IEO_HAP_LO"])
    with pytest.raises(CorpusError, match="has no column of the numbers 100001"):
        read_corpus("crema-d", tmp_path)
    table(path, "A,D,F,H,N,S,filename", ["9,0,0,0,0,0,1001_IEO_HAP_LO"])
    with pytest.raises(CorpusError, match=r"expected fileName\. Rename or add it"):
        read_corpus("crema-d", tmp_path)


def test_crema_d_prefers_wav_to_mp3(tmp_path: Path) -> None:
    wav = tone(tmp_path / "AudioWAV" / "1001_IEO_HAP_LO.wav")
    mp3 = tmp_path / "AudioMP3" / "1001_IEO_HAP_LO.mp3"
    mp3.parent.mkdir()
    mp3.write_bytes(b"x")
    (row,) = read_corpus("crema-d", tmp_path).utterances
    assert row.path == wav


def test_crema_d_reads_real_votes(test_data: Path, tmp_path: Path) -> None:
    tone(tmp_path / "AudioWAV" / "1001_IEO_NEU_XX.wav")
    (tmp_path / "voice_votes.csv").write_bytes(
        (test_data / "crema_d_votes" / "voice_votes.csv").read_bytes()
    )
    (row,) = read_corpus("crema-d", tmp_path).utterances
    assert row.votes() == {"angry": 0, "disgust": 0, "fear": 0, "happy": 1, "neutral": 10, "sad": 0}
    assert row.transcript == "It's eleven o'clock"


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.5000, 4.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Excited;\t()
C-F1:\tAnger;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0 - 11.0]\tSes01F_impro01_M001\texc\t[4.0000, 4.0000, 3.0000]
C-E2:\tExcited;\t()

[12.0 - 13.0]\tSes01F_impro01_M002\tfru\t[2.0000, 3.0000, 3.0000]
C-E2:\tFrustration;\t()

[14.0 - 15.0]\tSes01F_impro01_M003\txxx\t[2.0000, 3.0000, 3.0000]
C-E2:\tOther;\t()
"""


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    return write_iemocap(tmp_path, (1, 4, 5))


def write_iemocap(root: Path, sessions: Iterable[int]) -> Path:
    for number in sessions:
        folder, dialog = root / f"Session{number}", f"Ses0{number}F_impro01"
        for turn in ("F000", "M001", "M002", "M003"):
            tone(folder / "sentences" / "wav" / dialog / f"{dialog}_{turn}.wav")
        text = EVALUATION.replace("Ses01", f"Ses0{number}")
        table(folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt", text, [])
        spoken = f"{dialog}_F000 [006.2901-008.2357]: Excuse me."
        table(folder / "dialog" / "transcriptions" / f"{dialog}.txt", spoken, [])
    return root


def test_iemocap_with_words_in_latin_1(iemocap: Path) -> None:
    wanted = read_corpus("iemocap", iemocap).utterances
    for path in iemocap.rglob("EmoEvaluation/*.txt"):
        path.write_bytes(path.read_bytes().replace(b"curious", b"blas\xe9"))
    assert read_corpus("iemocap", iemocap).utterances == wanted


def test_iemocap_has_four_or_five_classes_and_sessions_as_folds(iemocap: Path) -> None:
    four, five = read_corpus("iemocap", iemocap), read_corpus("iemocap-5", iemocap)
    assert Counter(row.emotion for row in four.utterances) == {"neutral": 3, "happy": 3}
    assert Counter(row.emotion for row in five.utterances)["frustrated"] == 3
    row = by_id(four)["Ses04F_impro01_F000"]
    assert (row.split, row.speaker, row.extra["fold"]) == ("dev", "Ses04F", "4")
    assert row.transcript == "Excuse me."
    assert row.attributes() == (3.5, 2.5, 4.5)
    assert row.votes() == {"happy": 1, "neutral": 2}
    assert by_id(four)["Ses05F_impro01_M001"].speaker == "Ses05M"
    assert not Manifest(four.utterances).leaking_speakers()
    assert "3 of 5 sessions found: the corpus is incomplete" in four.notes
    assert "6 utterances of other classes left out: fru 3, xxx 3" in four.notes


def test_iemocap_is_tested_on_each_session_in_turn(tmp_path: Path) -> None:
    rows = read_corpus("iemocap", write_iemocap(tmp_path, range(1, 6))).utterances
    source, target = tmp_path / "manifest.csv", tmp_path / "new.csv"
    write_manifest(source, rows)
    sessions = [str(number) for number in range(1, 6)]
    for test, dev in zip(sessions, sessions[1:] + sessions[:1], strict=True):
        for made in (
            split_manifest(source, target, test_folds=[test], overwrite=True),
            split_manifest(source, target, test_folds=[test], dev_folds=[dev], overwrite=True),
        ):
            assert not made.leaking_speakers()
            assert {row.extra["fold"] for row in made.select("test")} == {test}
        assert {row.extra["fold"] for row in made.select("dev")} == {dev}
        assert len(made.select("train")) == 6
    made = split_manifest(source, target, all_train=True, overwrite=True)
    assert made.splits == ("train",)
    folds = choose_folds(read_manifest(target), 5, 0)
    left_out = [folds.ids(fold) for fold in range(5)]
    assert [{name[3:5] for name in ids} for ids in left_out] == [{f"0{s}"} for s in sessions]
    with pytest.raises(ManifestError, match=r"Fold '6'.*has 1, 2, 3, 4, 5"):
        split_manifest(source, target, test_folds=["6"], overwrite=True)
    write_manifest(target, [replace(rows[0], extra={}), *rows[1:]])
    with pytest.raises(
        ManifestError, match=f"1 of 10 utterances have no 'fold' .{rows[0].utterance_id}"
    ):
        split_manifest(target, source, test_folds=["5"], overwrite=True)
    write_manifest(target, [replace(row, extra={}) for row in rows])
    with pytest.raises(ManifestError, match=r"no column 'fold'.*without --test-fold"):
        split_manifest(target, source, test_folds=["5"], overwrite=True)
    for given in ({"all_train": True}, {"test_folds": ["5"]}):
        with pytest.raises(UsageError, match="--seed has no effect"):
            split_manifest(source, target, seed=3, overwrite=True, **given)
    with pytest.raises(UsageError, match="excludes --test-fold"):
        split_manifest(source, target, test_folds=["5"], all_train=True, overwrite=True)


def test_labels_without_audio_are_counted_and_a_corpus_without_any_is_refused(
    iemocap: Path,
) -> None:
    (iemocap / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    notes = read_corpus("iemocap", iemocap).notes
    assert "1 labelled utterances without audio left out: Ses01F_impro01_F000.wav" in notes
    for path in iemocap.rglob("*.wav"):
        path.unlink()
    with pytest.raises(CorpusError, match="none of their audio files exists"):
        read_corpus("iemocap", iemocap)


def test_meld_keeps_its_splits_and_finds_clips_turned_into_audio(tmp_path: Path) -> None:
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode"
    for split in ("train", "dev", "test"):
        row = '1,"Oh, hi.",Joey,joy,positive,0,3,8,21'
        table(tmp_path / f"{split}_sent_emo.csv", header, [row])
    tone(tmp_path / "train" / "train_splits" / "dia0_utt3.wav")
    corpus = read_corpus("meld", tmp_path)
    row = by_id(corpus)["train_dia0_utt3"]
    assert (row.emotion, row.transcript, row.path.is_file()) == ("happy", "Oh, hi.", True)
    assert corpus.notes == ("2 utterances without audio: dia0_utt3.wav, dia0_utt3.wav",)
    assert Manifest(corpus.utterances).leaking_speakers() == {"Joey": ("dev", "test", "train")}


def test_meld_with_a_project_in_its_folder(tmp_path: Path) -> None:
    table(
        tmp_path / "train_sent_emo.csv",
        "Utterance,Emotion,Dialogue_ID,Utterance_ID",
        ["hi,joy,0,3"],
    )
    table(tmp_path / "transcripts.csv", "utterance_id,text", ["train_dia0_utt3,hi"])
    assert list(by_id(read_corpus("meld", tmp_path))) == ["train_dia0_utt3"]


def test_meld_without_speakers_and_with_ids_of_pandas(tmp_path: Path) -> None:
    table(
        tmp_path / "train_sent_emo.csv",
        "Utterance,Emotion,Dialogue_ID,Utterance_ID",
        ["hi,joy,0.0,3.0"],
    )
    tone(tmp_path / "train_splits" / "dia0_utt3.wav")
    (row,) = read_corpus("meld", tmp_path).utterances
    assert (row.speaker, row.path.is_file()) == ("", True)


def test_meld_names_spare_clips_and_clips_of_minutes(tmp_path: Path) -> None:
    """declare-lab/MELD#20 and #22: such clips were used, or left out, without a note."""
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    rows = [f'hi,Joey,joy,0,{i},8,21,"00:16:16,059","00:16:17,159"' for i in (0, 1)]
    table(tmp_path / "test_sent_emo.csv", header, rows)
    clips = tmp_path / "output_repeated_splits_test"
    tone(clips / "dia0_utt0.wav")
    soundfile.write(clips / "dia0_utt1.wav", [0.1, -0.1] * 40_000, 8_000)
    tone(clips / "final_videos_testdia0_utt0.wav")
    spare, long = read_corpus("meld", tmp_path).notes[1:]
    assert spare == "1 audio files without a label left out: final_videos_testdia0_utt0.wav"
    assert long.startswith("1 clips much longer than their StartTime to EndTime")
    assert long.endswith(": dia0_utt1.wav")


def test_meld_text_alone_is_read_and_said_to_be_text(test_data: Path) -> None:
    corpus = read_corpus("meld", test_data / "meld_text")
    counts = Manifest(corpus.utterances).counts()
    assert {split: sum(found.values()) for split, found in counts.items()} == {
        "train": 9989,
        "dev": 1109,
        "test": 2610,
    }
    assert counts["test"]["fear"] == 50
    assert "only text branches" in corpus.notes[0]


def test_msp_podcast_reads_the_challenge_layout(test_data: Path) -> None:
    corpus = read_corpus("msp-podcast", test_data / "msp_podcast_layout")
    rows = by_id(corpus)
    counts = Manifest(corpus.utterances).counts()
    assert {split: sum(found.values()) for split, found in counts.items()} == {
        "train": 16,
        "dev": 8,
        "test3": 4,
    }
    first = rows["MSP-PODCAST_9001_0001"]
    assert (first.emotion, first.speaker, first.attributes()) == ("angry", "9001", (5.0, 2.4, 6.0))
    assert first.transcript == "i told them twice and nobody bothered to listen"
    assert {name: count for name, count in first.votes().items() if count} == {
        "angry": 3,
        "sad": 1,
        "neutral": 1,
    }
    other = rows["MSP-PODCAST_9005_0002"]
    assert (other.emotion, other.extra["consensus"], other.votes()["other"]) == ("", "O", 3)
    assert rows["MSP-PODCAST_9005_0003"].emotion == ""
    assert rows["MSP-PODCAST_9005_0003"].speaker == ""
    assert rows["MSP-PODCAST_test3_0001"].split == "test3"
    (note,) = corpus.notes
    assert note.startswith("4 clips without a transcript")


def test_msp_podcast_reads_releases_with_test_splits_and_one_column_per_rating(
    tmp_path: Path,
) -> None:
    names = [f"MSP-PODCAST_0001_000{i}.wav" for i in range(4)]
    for name in names[:3]:
        tone(tmp_path / "Audios" / name)
    tone(tmp_path / "Audios" / "stray.wav")
    table(
        tmp_path / "Labels" / "labels_concensus.csv",
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set",
        [f"{name},{'NUXA'[i]},3,4,5,7,Male,Test{i + 1}" for i, name in enumerate(names)],
    )
    table(
        tmp_path / "Labels" / "labels_detailed.csv",
        "FileName,Workers,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom",
        [f'{names[2]},W{i},{word},"a,b",1,2,3' for i, word in enumerate(("Happy", "Odd", "Fear"))],
    )
    corpus = read_corpus("msp-podcast", tmp_path)
    rows = by_id(corpus)
    assert [row.split for row in rows.values()] == ["test1", "test2", "test3"]
    tied = rows["MSP-PODCAST_0001_0002"]
    assert tied.emotion == ""
    assert (tied.votes()["happy"], tied.votes()["other"], tied.votes()["fear"]) == (1, 1, 1)
    assert tied.transcript is None
    table(tmp_path / "Transcripts" / "MSP-PODCAST_test3_0001.txt", "so it is", [])
    tone(tmp_path / "Audios" / "MSP-PODCAST_test3_0001.wav")
    again = by_id(read_corpus("msp-podcast", tmp_path))
    assert again["MSP-PODCAST_test3_0001"].transcript == "so it is"
    assert again["MSP-PODCAST_0001_0002"].transcript == ""
    assert "1 labelled utterances without audio left out: MSP-PODCAST_0001_0003.wav" in corpus.notes
    assert "1 audio files without a label row left out: stray.wav" in corpus.notes


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_times_in_metadata_of_an_audiofolder_are_not_ignored(tmp_path: Path, ending: str) -> None:
    tone(tmp_path / "a.wav")
    if ending == "csv":
        table(tmp_path / "metadata.csv", "file_name,emotion,begin", ["a.wav,sad,0.5"])
    else:
        row = {"file_name": "a.wav", "emotion": "sad", "begin": 0.5}
        (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(ManifestError, match="Rename begin to start, or to begin_unused"):
        read_corpus("audiofolder", tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("channel", "phone", "row 1: channel is 'phone', expected left, right"),
        ("arousal", "high", "row 1: arousal is 'high', expected a number"),
        ("text,sentence", "so,so", "several columns of the transcript (text, sentence)"),
        ("speakers", "s1", "column 'speakers' is similar to 'speaker'"),
    ],
)
def test_a_column_of_an_audiofolder_that_cannot_be_read_is_one_line(
    tmp_path: Path, column: str, value: str, told: str
) -> None:
    tone(tmp_path / "a.wav")
    table(tmp_path / "metadata.csv", f"file_name,label,{column}", [f"a.wav,sad,{value}"])
    with pytest.raises((CorpusError, ManifestError), match=re.escape(told)):
        read_corpus("audiofolder", tmp_path)


def test_columns_of_an_audiofolder_may_have_other_capitals(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    rows = ["a.wav,sad,3,s1,f"]
    table(tmp_path / "metadata.csv", "File_Name,Emotion,label,Speaker_ID,Gender", rows)
    (row,) = read_corpus("audiofolder", tmp_path).utterances
    assert (row.emotion, row.speaker) == ("sad", "s1")
    assert row.extra == {"label": "3", "gender": "f"}


def test_audiofolder_reads_metadata_and_split_folders(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        tone(tmp_path / split / "a" / "1.wav")
        table(
            tmp_path / split / "metadata.csv",
            "file_name,label,transcription,speaker_id,age",
            ["a/1.wav,Anger,so what,s1,30"],
        )
    rows = by_id(read_corpus("audiofolder", tmp_path))
    row = rows["validation_a_1"]
    assert (row.split, row.emotion, row.transcript, row.speaker) == (
        "dev",
        "angry",
        "so what",
        "s1",
    )
    assert row.extra == {"age": "30"}
    assert row.path.is_file()


def test_audiofolder_names_files_whose_label_is_in_doubt(tmp_path: Path) -> None:
    """lucascesarfd/underwater_snd#3: metadata that contradict the folders were used silently."""
    for name in ("angry/a.wav", "sad/b.wav", "sad/c.wav"):
        tone(tmp_path / name)
    rows = ["sad/b.wav,angry", "angry/a.wav,angry"]
    table(tmp_path / "metadata.csv", "file_name,emotion", rows)
    assert read_corpus("audiofolder", tmp_path).notes == (
        "1 audio files without a label left out: sad/c.wav",
    )
    table(tmp_path / "metadata.csv", "file_name,emotion", [*rows, "sad/c.wav,sad"])
    assert read_corpus("audiofolder", tmp_path).notes == (
        "1 labels of the metadata, which are used, differ from the folder of the file: "
        "sad/b.wav (angry)",
    )


def test_recordings_that_libsndfile_does_not_read_are_named(tmp_path: Path) -> None:
    for name in ("angry/a.wav", "sad/b.opus"):
        tone(tmp_path / name)
    for name in ("angry/a.m4a", "happy/c.M4A", "happy/d.mp4"):  # the first one was converted
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypM4A ")
    (told,) = note_unreadable(str(tmp_path))
    assert told.startswith(f"Left out in '{tmp_path}', because libsndfile does not read the format")
    assert told.endswith(": happy/c.M4A, happy/d.mp4. Convert with: ffmpeg -i IN OUT.flac")
    corpus = read_corpus("audiofolder", tmp_path)
    assert corpus.notes == (told,)
    assert [row.emotion for row in corpus.utterances] == ["angry", "sad"]
    assert read_recordings([str(tmp_path)])[1] == (told,)
    with pytest.raises(CorpusError, match=r"no audio files.*Left out in .*: c.M4A, d.mp4. Convert"):
        read_corpus("audiofolder", tmp_path / "happy")
    table(tmp_path / "metadata.csv", "file_name,emotion", ["happy/c.M4A,sad", "angry/a.wav,sad"])
    assert ": happy/d.mp4. " in read_corpus("audiofolder", tmp_path).notes[-1]


@pytest.mark.parametrize("name", ["emodb", "ravdess", "crema-d"])
def test_recordings_in_a_corpus_that_libsndfile_does_not_read_are_named(
    name: str, tmp_path: Path
) -> None:
    names = {"emodb": "03a01Fa", "ravdess": "03-01-06-01-02-01-12", "crema-d": "1001_DFA_ANG_XX"}
    tone(tmp_path / f"{names[name]}.wav")
    (tmp_path / "other.m4a").touch()
    assert "read the format: other.m4a." in read_corpus(name, tmp_path).notes[-1]


def test_videos_that_ravdess_and_meld_come_with_are_not_named(tmp_path: Path) -> None:
    tone(tmp_path / "Actor_12" / "03-01-06-01-02-01-12.wav")
    (tmp_path / "Actor_12" / "01-01-06-01-02-01-12.mp4").touch()
    assert not any("libsndfile" in note for note in read_corpus("ravdess", tmp_path).notes)
    table(
        tmp_path / "train_sent_emo.csv",
        "Utterance,Emotion,Dialogue_ID,Utterance_ID",
        ["hi,joy,0,3", "ho,joy,0,4"],
    )
    tone(tmp_path / "wav" / "train_splits" / "dia0_utt3.wav")
    for clip in ("dia0_utt3", "dia0_utt4"):
        (tmp_path / f"{clip}.mp4").touch()
    assert "1 utterances without audio: dia0_utt4.wav" in read_corpus("meld", tmp_path).notes
    assert not any("libsndfile" in note for note in read_corpus("meld", tmp_path).notes)


def test_audiofolder_reads_json_lines_and_class_folders(tmp_path: Path) -> None:
    tone(tmp_path / "lines" / "1.wav")
    (tmp_path / "lines" / "metadata.jsonl").write_text('{"file_name": "1.wav", "emotion": "sad"}\n')
    (row,) = read_corpus("audiofolder", tmp_path / "lines").utterances
    assert (row.emotion, row.split, row.transcript) == ("sad", "", None)
    tone(tmp_path / "folders" / "test" / "happy" / "1.wav")
    (row,) = read_corpus("audiofolder", tmp_path / "folders").utterances
    assert (row.emotion, row.split, row.utterance_id) == ("happy", "test", "test_happy_1")


@pytest.mark.parametrize("column", ["label", "emotion", "text"])
def test_audiofolder_refuses_several_values_in_one_field(tmp_path: Path, column: str) -> None:
    tone(tmp_path / "1.wav")
    row = {"file_name": "1.wav", "emotion": "sad", column: ["sad", "happy"]}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(CorpusError, match=rf"line 1: '{column}' is \['sad', 'happy'\], expected"):
        read_corpus("audiofolder", tmp_path)
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row | {column: "sad", "vector": [1, 2]}))
    assert len(read_corpus("audiofolder", tmp_path).utterances) == 1


def test_audformat_databases_are_read_through_audformat(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat", reason="audformat is not installed")
    database = audformat.Database("mine")
    for split in ("train", "test"):
        database.splits[split] = audformat.Split(split)
    for scheme in ("emotion", "speaker"):
        database.schemes[scheme] = audformat.Scheme(audformat.define.DataType.STRING)
    for split, files, emotions in (
        ("train", ["audio/1.wav", "audio/2.wav"], ["anger", "boredom"]),
        ("test", ["audio/3.wav"], ["neutral"]),
    ):
        made = audformat.Table(audformat.filewise_index(files), split_id=split)
        database[f"emotion.{split}"] = made
        for scheme, values in (("emotion", emotions), ("speaker", [f"{split}er"] * len(files))):
            made[scheme] = audformat.Column(scheme_id=scheme)
            made[scheme].set(values)
        for file in files:
            tone(tmp_path / file)
    database.save(str(tmp_path))
    rows = by_id(read_corpus("audformat", tmp_path))
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(CorpusError, match="audformat cannot load the database"):
        read_corpus("audformat", tmp_path)
    assert {name: (row.emotion, row.split, row.speaker) for name, row in rows.items()} == {
        "audio_1": ("angry", "train", "trainer"),
        "audio_2": ("bored", "train", "trainer"),
        "audio_3": ("neutral", "test", "tester"),
    }
    assert all(row.path.is_file() for row in rows.values())


def test_files_of_one_name_in_an_audformat_database_are_named(tmp_path: Path) -> None:
    """EmoDB 2.0 has the tables emotion and laryngo.emotion."""
    audformat = pytest.importorskip("audformat", reason="audformat is not installed")
    database = audformat.Database("emodb")
    for scheme in ("emotion", "speaker"):
        database.schemes[scheme] = audformat.Scheme(audformat.define.DataType.STRING)
    files = ["03a01Fa", "03a01Nc", "1", "2"]
    for name, folder in (("emotion", "wav"), ("laryngo.emotion", "laryngo")):
        made = audformat.Table(audformat.filewise_index([f"{folder}/{f}.wav" for f in files]))
        database[name] = made
        made["emotion"] = audformat.Column(scheme_id="emotion")
        made["emotion"].set(["happy", "neutral", "happy", folder])
        made["speaker"] = audformat.Column(scheme_id="speaker")
        made["speaker"].set(["3", "3", folder, "3"])
        for file in files:
            tone(tmp_path / folder / f"{file}.wav")
    database.save(str(tmp_path))
    corpus = read_corpus("audformat", tmp_path)
    assert corpus.notes == (
        "2 names of files in several folders, such as laryngo/03a01Fa.wav and wav/03a01Fa.wav: "
        "read as different recordings. To leave a folder out, remove its rows from manifest.csv",
    )
    init_project(tmp_path, [Source("audformat", tmp_path)], mapping={"wav": "", "laryngo": ""})
    manifest = tmp_path / "manifest.csv"
    rows = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(row for row in rows if "laryngo/" not in row))
    assert len(read_manifest(manifest)) == 4


def test_the_page_on_corpora_has_a_row_for_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    table = page.partition("\n## ")[0]
    assert {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")} == {
        "demo",
        *CORPORA,
    }
