"""Every option of every stage with its default: the only place where defaults stand."""

from dataclasses import dataclass
from typing import Literal

Device = str
"""``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""


@dataclass(frozen=True)
class TranscribeOptions:
    """Options of `serctl transcribe`.

    Attributes:
        model: A Whisper: catalogue name, Hugging Face id or path.
        backend: Which library decodes; ``auto`` takes the one that the weights are in the form of.
        language: A code such as ``en``, or ``auto`` to detect it for each utterance.
        from_manifest: Take the manifest's own words, run no model.
        keep_frames: Keep the encoder's frames in the feature cache, as `serctl extract` would.
        layer: Of the kept frames: N for ``hidden_states[N]``, -1 for ``last_hidden_state``.
        dtype: Precision of the computation.
        storage: How kept frames are stored.
        device: Where to compute.
        batch_seconds: Seconds of a batch, whole 30 s windows counted.
        weights: Checkpoint to use instead of the model's own.
        seed: Of the draws when a doubtful text is tried again.
        limit: Only so many utterances, of every split and emotion in turn.
        skip_bad: List audio that cannot be read in failures.csv and go on.
    """

    model: str = "whisper-large-v3"
    backend: Literal["auto", "transformers", "faster-whisper"] = "auto"
    language: str = "en"
    from_manifest: bool = False
    keep_frames: bool = False
    layer: int = -1
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    storage: str = "float16"
    device: Device = "auto"
    batch_seconds: float = 240.0
    weights: str | None = None
    seed: int = 0
    limit: int | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class ExtractOptions:
    """Options of `serctl extract`.

    Attributes:
        encoder: Catalogue name, alias, Hugging Face id or path.
        layer: N for ``hidden_states[N]``, -1 for ``last_hidden_state``; several are filled in one
            pass of the encoder.
        dtype: Precision of the computation.
        window: Seconds of Whisper's window; None is the 30 it was trained on. A shorter one costs
            less and gives other frames.
        device: Where to compute.
        batch_seconds: Padded seconds of a batch; None takes 2 on a CPU, where larger ones only pad,
            and 60 elsewhere.
        storage: How frames are stored.
        weights: Checkpoint to use instead of the encoder's own.
        shard: ``i/n``: only every n-th batch, from the i-th on; n processes share the work.
        limit: Only so many utterances, of every split and emotion in turn.
        skip_bad: List what cannot be read in failures.csv and go on.
    """

    encoder: str = ""
    layer: int | tuple[int, ...] = -1
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    window: int | None = None
    device: Device = "auto"
    batch_seconds: float | None = None
    storage: str = "float16"
    weights: str | None = None
    shard: str = ""
    limit: int | None = None
    skip_bad: bool = False

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer once, in the order given."""
        return (self.layer,) if isinstance(self.layer, int) else tuple(dict.fromkeys(self.layer))


@dataclass(frozen=True)
class TrainOptions:
    """Options of `serctl train`. The defaults are the paper's; `docs/training.md` explains each.

    Attributes:
        speech: Speech encoders, one branch each; a name, or ``name@digest`` of one store.
        text: Text encoders.
        paralinguistic: Paralinguistic encoders.
        recipe: A shipped recipe or a TOML file that these options were laid over.
        loss: Weighted cross-entropy, or with the neutral-expressive soft margin loss.
        class_weights: Weigh classes by N/N_j, by the released code's N/(E·N_j), or not.
        hidden: Width of projections, of each GRU direction and of the heads.
        dropout: On attention weights and in the heads.
        heads: Attention heads of speech and text queries.
        paralinguistic_heads: Attention heads of paralinguistic queries.
        attention: Own weights for each ordered ``pair`` of branches, or one set a ``query``.
        pooling: ``vector`` softmax(r·m/√D), ``linear`` softmax(r·m + b), or ``statistics``.
        standardise: Encoders whose frames are standardised with the training frames' statistics;
            ``*`` is all of them.
        epochs: Epochs of the main stage.
        learning_rate: At the first epoch; a cosine takes it to ``final_learning_rate``.
        batch_size: Utterances a step, over all parts and processes.
        accumulate: Parts that a batch is computed in, one after the other; 0 chooses by device.
        balance: Half neutral, half expressive in every batch: ``auto`` with wce+sml; in expectation
            only with ``replacement``, as the released code did.
        sort_window: Batches whose utterances are sorted by length together; 1 sorts none.
        precision: Type of the matrix products (autocast).
        patience: Stop after so many epochs without a better one; 0 never does.
        select_by: Which epoch is kept: best dev macro-F1, best dev BS-F1, or the last.
        fit_on: Splits to learn from; with ``train+dev`` the last epoch is kept.
        soft_targets: Learn the raters' votes, also of utterances without a majority.
        balanced_epochs: Epochs of a second stage, class-balanced and unweighted.
        balanced_learning_rate: Learning rate of the second stage.
        logit_adjustment: Strength τ of the shift by the log prior in the loss; 0 is off.
        logit_scaling: Strength γ of the scale by class counts in the loss; 0 is off.
        mixup: Share of the batches with manifold MixUp.
        mixup_alpha: α of the Beta distribution of the mixing share.
        attribute_weight: Weight of the loss on arousal, valence and dominance; 0 is off.
        folds: Also train K fold models, for out-of-fold logits; 0 trains none.
        heldout: Leave a speaker-disjoint tenth of train out, for the stacker.
        seed: Seed of weights, batches, dropout and folds.
        seeds: Train that many runs with consecutive seeds.
        name: Name of the run; '' makes one of encoders, loss and seed.
        overwrite: Replace a run of the same name and other options.
        profile: Measure where the time goes.
        device: Where to compute.
        limit: Only so many utterances, of every split and emotion in turn, for a dry run.
    """

    speech: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    paralinguistic: tuple[str, ...] = ()
    recipe: str = ""
    loss: Literal["wce", "wce+sml"] = "wce"
    class_weights: Literal["N/N_j", "N/(E*N_j)", "none"] = "N/N_j"
    hidden: int = 512
    dropout: float = 0.5
    heads: int = 1
    paralinguistic_heads: int = 1
    attention: Literal["pair", "query"] = "pair"
    pooling: Literal["vector", "linear", "statistics"] = "vector"
    standardise: tuple[str, ...] = ("egemaps",)
    epochs: int = 20
    learning_rate: float = 1e-5
    final_learning_rate: float = 1e-6
    weight_decay: float = 1e-6
    batch_size: int = 64
    accumulate: int = 0
    balance: Literal["auto", "on", "off", "replacement"] = "auto"
    sort_window: int = 64
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    patience: int = 0
    select_by: Literal["macro_f1", "bs_f1", "last"] = "macro_f1"
    fit_on: Literal["train", "train+dev"] = "train"
    soft_targets: bool = False
    balanced_epochs: int = 0
    balanced_learning_rate: float = 1e-6
    logit_adjustment: float = 0.0
    logit_scaling: float = 0.0
    mixup: float = 0.0
    mixup_alpha: float = 0.2
    attribute_weight: float = 0.0
    folds: int = 0
    heldout: bool = False
    seed: int = 0
    seeds: int = 1
    name: str = ""
    overwrite: bool = False
    profile: bool = False
    device: Device = "auto"
    limit: int | None = None


@dataclass(frozen=True)
class ExportLogitsOptions:
    """Options of `serctl export-logits`.

    Attributes:
        run: Name of the run, or its folder.
        splits: Which splits; () is all of the manifest.
        train_logits: Who predicts the training split: the fold models (``oof``), the main model its
            held-out tenth (``heldout``), or the main model all it learnt from (``in-sample``);
            ``auto`` takes the first of these that the run has.
        batch_size: Utterances a batch; it does not change the logits.
        device: Where to compute.
        overwrite: Export again what is there already.
    """

    run: str = ""
    splits: tuple[str, ...] = ()
    train_logits: Literal["auto", "oof", "heldout", "in-sample"] = "auto"
    batch_size: int = 64
    device: Device = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class StackOptions:
    """Options of `serctl stack`."""

    models: tuple[str, ...] = ()
    stacker: str = "random-forest"
    stack_on: Literal["oof", "heldout", "dev", "in-sample"] = "oof"
    balance: Literal["subset", "weights", "none"] = "subset"
    fold: int | None = None
    name: str = ""
    compare: bool = False
    folds: int = 5
    seed: int = 42
    limit: int | None = None


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `serctl evaluate`."""

    systems: tuple[str, ...] = ()
    split: str = ""
    baselines: bool = True
    per_class: int = 200
    subsets: int = 100
    resamples: int = 1000
    submission: str = ""
    name: str = ""
    seed: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class PredictOptions:
    """Options of `serctl predict`.

    Attributes:
        audio: Files and folders.
        model: Folder of a bundle, or name of a stacker or run of the project.
        transcripts: CSV with the words (``utterance_id``, the stem of a file, and ``text``).
        recogniser: A Whisper that finds the words instead of the one that the model learnt with.
        cut_over: Recordings of more seconds are cut at their pauses.
        segment_seconds: Longest segment of such a recording.
        prior: ``as-trained``, or how frequent emotions are: ``natural`` (as in dev), ``balanced``,
            or a JSON or TOML file of shares.
        abstain_below: Name no emotion whose probability is lower.
        batch_seconds: Padded seconds of a batch of an encoder.
        one_at_a_time: Hold one encoder in memory; each is loaded anew for every half hour of audio.
        skip_bad: Tell what cannot be judged and go on.
        weights: ``NAME=DIR``: checkpoints of encoders, over ``[weights]`` of serctl.toml.
        device: Where to compute.
    """

    audio: tuple[str, ...] = ()
    model: str = ""
    transcripts: str | None = None
    recogniser: str = ""
    cut_over: float = 30.0
    segment_seconds: float = 11.0
    prior: str = "as-trained"
    abstain_below: float = 0.0
    batch_seconds: float = 60.0
    one_at_a_time: bool = False
    skip_bad: bool = False
    weights: tuple[str, ...] = ()
    device: Device = "auto"


@dataclass(frozen=True)
class BundleOptions:
    """Options of `serctl bundle make`.

    Attributes:
        name: Of the bundle; also the stacker or run, if neither is given.
        stacker: Stacker of the project.
        run: Run of the project, for a bundle of a single network.
        output: Folder to write.
        data: Corpora it was trained on: a name that `serctl init` knows, or ``NAME: TERMS``.
        license: Licence of the weights, as the Hugging Face hub abbreviates it (``cc-by-nc-4.0``).
        overwrite: Replace the folder.
    """

    name: str = ""
    stacker: str = ""
    run: str = ""
    output: str = ""
    data: tuple[str, ...] = ()
    license: str = "other"
    overwrite: bool = False


@dataclass(frozen=True)
class PushOptions:
    """Options of `serctl bundle push`.

    Attributes:
        repository: ``OWNER/NAME`` on the Hugging Face hub; it is made if it is not there.
        folder: Of the bundle.
        private: Make a new repository that only its owner sees.
        revision: Branch to push to; it is made if it is not there.
    """

    repository: str = ""
    folder: str = "bundle"
    private: bool = False
    revision: str = "main"


@dataclass(frozen=True)
class ReportOptions:
    """Options of `serctl report`.

    Attributes:
        name: Name of an evaluation in ``reports/``; '' is the newest.
        output: File to write; '' is ``reports/<name>.<format>``.
        format: What to write; '' follows the output's suffix and is a page without one.
    """

    name: str = ""
    output: str = ""
    format: Literal["", "html", "md", "csv", "latex", "json"] = ""


STAGE_OPTIONS: dict[str, type] = {
    "transcribe": TranscribeOptions,
    "extract": ExtractOptions,
    "train": TrainOptions,
    "export-logits": ExportLogitsOptions,
    "stack": StackOptions,
    "evaluate": EvaluateOptions,
    "report": ReportOptions,
    "predict": PredictOptions,
    "bundle": BundleOptions,
}
"""Tables of serctl.toml and of recipe files."""
