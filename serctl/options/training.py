"""The options of `serctl train`. The defaults are the settings of the paper."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from serctl.options.check import checked
from serctl.options.option import device_option, limit_option, option, seed_option

NETWORK, OPTIMISATION, LOSS, RUN = "Network", "Optimisation", "Loss", "Run"
network_option = partial(option, only_with="fusion")


@checked("train")
@dataclass(frozen=True)
class TrainOptions:
    """Options of `serctl train`. The defaults are the paper's."""

    speech: tuple[str, ...] = option(
        (),
        "Speech encoder: NAME, NAME@9 of one layer, NAME@9+12+15 of several layers, or "
        "NAME@DIGEST of one store.",
    )
    text: tuple[str, ...] = option((), "Text encoder.")
    paralinguistic: tuple[str, ...] = option((), "Paralinguistic encoder, such as egemaps.")
    recipe: str = option(
        "", "Options to start from: paper, released, challenge, small, demo or a TOML file."
    )
    loss: Literal["wce", "wce+sml"] = network_option(
        "wce", "Weighted cross-entropy, alone or with the soft margin loss on neutral speech."
    )
    neutral: str = network_option(
        "",
        "Label of neutral speech, for wce+sml and balanced batches.",
        panel=LOSS,
        shown="neutral",
    )
    class_weights: Literal["N/N_j", "N/(E*N_j)", "none"] = network_option(
        "N/N_j", "Class weights of the loss.", panel=LOSS, only_in_files=True
    )
    kind: Literal["fusion", "pooled"] = option(
        "fusion",
        "The fusion network, or logistic regression on pooled frames.",
        panel=NETWORK,
        flag="model",
    )
    pooled_c: float = option(
        0.0,
        "C of the logistic regression; 0 chooses it by cross-validation over speakers.",
        panel=NETWORK,
        min=0,
        only_in_files=True,
    )
    hidden: int = network_option(  # layer norm makes one value 0
        512, "Width of projections, GRU directions and heads.", panel=NETWORK, min=2
    )
    dropout: float = network_option(
        0.5, "Dropout of attention weights and classifier.", panel=NETWORK, min=0, below=1
    )
    heads: int = network_option(
        1,
        "Attention heads of speech and text branches.",
        panel=NETWORK,
        min=1,
        divides="hidden",
        times=2,
        only_in_files=True,
    )
    paralinguistic_heads: int = network_option(
        1,
        "Attention heads of paralinguistic branches.",
        panel=NETWORK,
        min=1,
        divides="hidden",
        times=2,
        only_in_files=True,
    )
    attention: Literal["pair", "query"] = network_option(
        "pair",
        "One set of attention weights for each ordered pair of branches, or for each query.",
        panel=NETWORK,
        only_in_files=True,
    )
    pooling: Literal["vector", "linear", "statistics"] = network_option(
        "vector",
        "Attentive pooling: softmax(r·m/√D), softmax(r·m + b), or mean and deviation.",
        panel=NETWORK,
    )
    standardise: tuple[str, ...] = network_option(
        ("egemaps",),
        "Encoders whose frames are standardised with statistics of train; * is all.",
        panel=NETWORK,
        only_in_files=True,
    )
    standardise_by: Literal["corpus", "speaker", "auto"] = option(
        "corpus",
        "Standardise frames over the corpus, or per speaker with all utterances of the speaker, "
        "unlabelled ones too; auto decides by cross-validation on train.",
        panel=NETWORK,
    )
    layer_fusion: Literal["sum", "concat"] = network_option(
        "sum",
        "Combine several layers of an encoder by a learned sum, or concatenate them.",
        panel=NETWORK,
    )
    normalise_layers: bool = network_option(
        False, "Apply layer norm to each of several layers of an encoder.", panel=NETWORK
    )
    downsample: int = network_option(
        1,
        "Average every N consecutive frames of speech and paralinguistic encoders, for a faster "
        "training.",
        panel=NETWORK,
        min=1,
    )
    epochs: int = network_option(20, "Number of epochs.", panel=OPTIMISATION, min=1)
    learning_rate: float = network_option(
        1e-5, "Learning rate of the first epoch.", panel=OPTIMISATION, above=0
    )
    final_learning_rate: float = network_option(
        1e-6,
        "Learning rate at the end of the cosine schedule.",
        panel=OPTIMISATION,
        min=0,
        only_in_files=True,
    )
    weight_decay: float = network_option(
        1e-6, "Weight decay of AdamW.", panel=OPTIMISATION, min=0, only_in_files=True
    )
    batch_size: int = network_option(
        64, "Utterances in a step, over all parts and processes.", panel=OPTIMISATION, min=1
    )
    accumulate: int = network_option(
        0,
        "Number of consecutive parts of a batch (gradient accumulation); 0 chooses by device.",
        panel=OPTIMISATION,
        min=0,
        only_in_files=True,
    )
    balance: Literal["auto", "on", "off", "replacement", "sqrt"] = network_option(
        "auto",
        "Neutral and expressive utterances: half of each batch (on), half in expectation "
        "(replacement), or shares by the square root of their numbers (sqrt).",
        panel=OPTIMISATION,
        shown="on with wce+sml",
    )
    sort_window: int = network_option(
        64,
        "Number of batches whose utterances are sorted by length together; 1 does not sort.",
        panel=OPTIMISATION,
        min=1,
        only_in_files=True,
    )
    precision: Literal["float32", "bfloat16", "float16"] = network_option(
        "float32", "Data type of matrix products (autocast).", panel=OPTIMISATION
    )
    patience: int = network_option(
        0,
        "Stop after this many epochs without improvement on dev; 0 does not stop.",
        panel=OPTIMISATION,
        min=0,
    )
    select_by: Literal["macro_f1", "bs_f1", "last"] = option(
        "macro_f1",
        "Keep the epoch that is best in this dev metric, or the last.",
        panel=RUN,
    )
    fit_on: Literal["train", "train+dev"] = option(
        "train", "Splits to train on; train+dev keeps the last epoch.", panel=RUN
    )
    soft_targets: bool = network_option(
        False,
        "Train on the raters' votes, also for utterances without a majority.",
        panel=LOSS,
        only_in_files=True,
    )
    balanced_epochs: int = network_option(
        0,
        "Epochs of a second stage with class-balanced batches and an unweighted loss.",
        panel=OPTIMISATION,
        min=0,
        only_in_files=True,
    )
    balanced_learning_rate: float = network_option(
        1e-6,
        "Learning rate of the second stage.",
        panel=OPTIMISATION,
        above=0,
        only_in_files=True,
    )
    logit_adjustment: float = network_option(
        0.0,
        "Strength τ of the shift of logits by the log prior in the loss; 0 is off.",
        panel=LOSS,
        min=0,
        only_in_files=True,
    )
    logit_scaling: float = network_option(
        0.0,
        "Strength γ of the scaling of logits by class counts in the loss; 0 is off.",
        panel=LOSS,
        min=0,
        only_in_files=True,
    )
    mixup: float = network_option(
        0.0,
        "Share of batches with manifold MixUp; 0 is off.",
        panel=LOSS,
        min=0,
        max=1,
        only_in_files=True,
    )
    mixup_alpha: float = network_option(
        0.2,
        "Parameter α of the Beta distribution of MixUp.",
        panel=LOSS,
        above=0,
        only_in_files=True,
    )
    attribute_weight: float = network_option(
        0.0,
        "Weight of the loss on arousal, valence and dominance; 0 is off.",
        panel=LOSS,
        min=0,
        only_in_files=True,
    )
    folds: int = option(
        0,
        "Train K fold models for a stacker. Their mean predicts new utterances.",
        panel=RUN,
        min=2,
        shown="none",
    )
    main: bool = option(
        False,
        "With --folds: also train a model on all of train (export-logits --predicted-by main).",
        panel=RUN,
    )
    heldout: bool = option(
        False, "Keep a speaker-disjoint tenth of train for the stacker.", panel=RUN
    )
    seed: int = seed_option(panel=RUN)
    seeds: int = option(1, "Number of runs with consecutive seeds.", panel=RUN, min=1)
    name: str = option("", "Name of the run.", panel=RUN, shown="encoders and loss")
    shard: str = option(
        "",
        "Train every N-th network of the run from the I-th: the main model, then the fold models.",
        panel=RUN,
        metavar="I/N",
    )
    overwrite: bool = option(
        False, "Replace a run of the same name with other options or data.", panel=RUN
    )
    log: Literal["", "tensorboard"] = network_option(
        "", "Also log every epoch to a tracker: tensorboard.", panel=RUN, shown="metrics.jsonl"
    )
    profile: bool = network_option(
        False, "Measure the time spent in each part of a step.", panel=RUN
    )
    device: str = device_option()
    limit: int | None = limit_option()


def split_seeds(options: TrainOptions) -> list[TrainOptions]:
    """Return the options of each run of a training with several seeds.

    Example:
        >>> [(one.seed, one.name) for one in split_seeds(TrainOptions(name="mine", seeds=2))]
        [(0, 'mine-s0'), (1, 'mine-s1')]
    """
    if options.seeds == 1:
        return [options]
    numbers = range(options.seed, options.seed + options.seeds)
    return [
        replace(options, seed=n, seeds=1, name=options.name and f"{options.name}-s{n}")
        for n in numbers
    ]
