"""Options of all stages except train, bundles and serve."""

from dataclasses import dataclass
from typing import Literal

from serctl.options.check import checked
from serctl.options.option import (
    OVER_TIME,
    abstain_option,
    checkpoints_option,
    device_option,
    dtype_option,
    layer_option,
    limit_option,
    option,
    prior_option,
    recogniser_option,
    resamples_option,
    seed_option,
    shard_option,
    skip_bad_option,
    storage_option,
    weights_option,
)


@checked("transcribe")
@dataclass(frozen=True)
class TranscribeOptions:
    """Options of `serctl transcribe`."""

    model: str = option("whisper-large-v3", "Whisper model: name, Hugging Face id or path.")
    backend: Literal["auto", "transformers", "faster-whisper"] = option(
        "auto", "Library for decoding; auto follows the format of the weights."
    )
    language: str = option("en", "Language code, or auto to detect it for each utterance.")
    from_manifest: bool = option(False, "Use the transcripts of the manifest, without a model.")
    keep_frames: bool = option(False, "Also keep the frames of the encoder in the cache.")
    layer: int = layer_option()
    dtype: Literal["float32", "bfloat16", "float16"] = dtype_option()
    storage: str = storage_option()
    device: str = device_option()
    batch_seconds: float = option(240.0, "Seconds of 30 s windows in a batch.", above=0)
    weights: str | None = weights_option()
    seed: int = seed_option()
    shard: str = shard_option()
    limit: int | None = limit_option()
    skip_bad: bool = skip_bad_option()


@checked("extract")
@dataclass(frozen=True)
class ExtractOptions:
    """Options of `serctl extract`."""

    encoder: str = option("", "Name in `serctl encoders`, Hugging Face id or path.")
    layer: int | tuple[int, ...] = layer_option()
    dtype: Literal["float32", "bfloat16", "float16"] = dtype_option()
    window: int | None = option(
        None,
        "Seconds of Whisper's window. A shorter window costs less and gives other frames.",
        min=1,
        max=30,
        shown="30",
    )
    device: str = device_option()
    batch_seconds: float | None = option(
        None, "Padded seconds in a batch.", above=0, shown="2 on a CPU, else 60"
    )
    storage: str = storage_option()
    weights: str | None = weights_option()
    shard: str = shard_option()
    limit: int | None = limit_option()
    skip_bad: bool = skip_bad_option()

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer once, in the order given. One pass of the encoder computes all of them."""
        return (self.layer,) if isinstance(self.layer, int) else tuple(dict.fromkeys(self.layer))


@checked("layers")
@dataclass(frozen=True)
class LayersOptions:
    """Options of `serctl layers`."""

    encoder: str = option(
        "", "Name in `serctl encoders`, Hugging Face id or path.", argument=True, required=True
    )
    dtype: Literal["float32", "bfloat16", "float16"] = dtype_option()
    window: int | None = option(None, "Seconds of Whisper's window.", min=1, max=30, shown="30")
    device: str = device_option()
    batch_seconds: float | None = option(
        None, "Padded seconds in a batch.", above=0, shown="2 on a CPU, else 60"
    )
    weights: str | None = weights_option()
    folds: int = option(5, "Speaker-disjoint folds of the cross-validation.", min=2)
    resamples: int = resamples_option()
    seed: int = seed_option()
    limit: int | None = limit_option()
    skip_bad: bool = skip_bad_option()


@checked("export-logits")
@dataclass(frozen=True)
class ExportLogitsOptions:
    """Options of `serctl export-logits`."""

    run: str = option("", "Name of a run, or its folder.", argument=True, required=True)
    splits: tuple[str, ...] = option((), "Export only this split.", flag="split", shown="all")
    train_logits: Literal["auto", "oof", "heldout", "in-sample"] = option(
        "auto",
        "Models that predict train: fold models (oof, out-of-fold), the main model on its held-out "
        "tenth, or the main model on its training data. auto takes the first available.",
    )
    predicted_by: Literal["auto", "folds", "main"] = option(
        "auto",
        "Models that predict dev and test: the mean of the fold models, or the main model. auto "
        "takes the fold models if the run has any.",
    )
    batch_size: int = option(64, "Utterances in a batch; it does not change the logits.", min=1)
    device: str = device_option()
    overwrite: bool = option(False, "Replace existing logits.")


@checked("stack")
@dataclass(frozen=True)
class StackOptions:
    """Options of `serctl stack`."""

    models: tuple[str, ...] = option(
        (), "Runs, or CSV files of outside systems.", argument=True, shown="all runs"
    )
    stacker: str = option(
        "random-forest",
        "Second-level classifier: random-forest, xgboost, logistic-regression, linear, greedy, "
        "log-pool, best-single, mean-logits, mean-probabilities or majority-vote; auto chooses "
        "one.",
    )
    stack_on: Literal["oof", "heldout", "dev", "in-sample"] = option(
        "oof", "Logits to fit the stacker on; oof are out-of-fold logits."
    )
    balance: Literal["subset", "weights", "none"] = option(
        "subset", "Balancing of classes: draw a balanced subset, weight classes, or none."
    )
    draws: int = option(
        10,
        "Number of balanced subsets; their stackers are averaged.",
        min=1,
    )
    fold: int | None = option(None, "Use only one of the five forests (paper: 4).", min=0, max=4)
    name: str = option("", "Name of the stacker.", shown="kind of the stacker")
    compare: bool = option(False, "Cross-validate all stackers instead of fitting one.")
    folds: int = option(5, "Speaker-disjoint folds of --compare and of dev.", min=2)
    seed: int = seed_option(42)
    limit: int | None = limit_option()


@checked("evaluate")
@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `serctl evaluate`."""

    systems: tuple[str, ...] = option(
        (), "Runs, stackers or CSV files; two are compared.", argument=True, shown="all"
    )
    split: str = option("", "Split to evaluate on.", shown="test if labelled, else dev")
    baselines: bool = option(True, "Add the majority class and classifiers on pooled frames.")
    per_class: int = option(200, "Utterances of each class in a BS-F1 subset.", min=1)
    subsets: int = option(100, "Number of balanced subsets for BS-F1.", min=1)
    resamples: int = resamples_option()
    submission: str = option(
        "", "Write only the challenge's submission file of one system.", metavar="FILE"
    )
    name: str = option("", "Name of the report.", shown="the split")
    seed: int = seed_option()
    limit: int | None = limit_option()


@checked("predict")
@dataclass(frozen=True)
class PredictOptions:
    """Options of `serctl predict`."""

    audio: tuple[str, ...] = option(
        (),
        "Audio files, folders or tables of segments; - reads a list from stdin.",
        argument=True,
    )
    model: str = option("", "Bundle (folder, or hf:OWNER/NAME@COMMIT), stacker or run.", short="-m")
    transcripts: str | None = option(
        None,
        "CSV file of transcripts with the columns utterance_id (file stem) and text.",
        metavar="FILE",
    )
    recogniser: str = recogniser_option()
    cut_over: float = option(
        30.0,
        "Cut recordings longer than this many seconds at their pauses.",
        min=0,
        endless=True,
    )
    segment_seconds: float = option(11.0, "Maximum seconds of a segment.", min=1)
    prior: str = prior_option()
    abstain_below: float = abstain_option()
    batch_seconds: float = option(60.0, "Padded seconds in a batch.", above=0)
    one_at_a_time: bool = option(
        False, "Keep only one encoder in memory. Each is reloaded for every half hour of audio."
    )
    skip_bad: bool = option(False, "Report unreadable audio and continue.")
    weights: tuple[str, ...] = checkpoints_option()
    speaker_per: Literal["none", "file", "folder", "all"] = option(
        "none",
        "Recordings of one speaker: each file, each folder, or all. Used by models with "
        "standardisation per speaker.",
    )
    device: str = device_option()
    every: float = option(
        0.0,
        "Predict over time: one prediction every X seconds of a recording.",
        above=0,
        shown="utterances",
        panel=OVER_TIME,
    )
    window: float = option(
        4.0, "Seconds of audio that each prediction over time reads.", above=0, panel=OVER_TIME
    )
    smooth: float = option(
        0.0,
        "Seconds over which probabilities are averaged, rounded to an odd number of steps.",
        min=0,
        panel=OVER_TIME,
    )
    shortest: float = option(
        2.0,
        "Minimum seconds of speech of a segment; a shorter stretch of speech is one segment.",
        min=0,
        panel=OVER_TIME,
    )
    channels: Literal["mix", "split", "left", "right"] = option(
        "mix", "Channels to predict: their mean, each of them, or one.", panel=OVER_TIME
    )
    windows_alone: bool = option(
        False, "Encode every window separately instead of sharing frames.", panel=OVER_TIME
    )


@checked("report")
@dataclass(frozen=True)
class ReportOptions:
    """Options of `serctl report`."""

    name: str = option("", "Name of an evaluation.", argument=True, shown="the newest")
    output: str = option(
        "", "File to write.", short="-o", shown="reports/NAME.html", metavar="FILE"
    )
    format: Literal["", "html", "md", "csv", "latex", "json"] = option(
        "", "Format of the report.", shown="by the suffix of the file"
    )
