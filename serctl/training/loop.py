"""Training loop: epochs, parts of batches, the best epoch, early stopping and resuming.

Every random choice is a pure function of seed, epoch and step (batches by `Sampler`, dropout and
MixUp by re-seeding before each step), so a training continued from its state file equals an
uninterrupted one bit for bit on the CPU.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.documents.run import EpochRecord
from serctl.interrupt import stop_requests
from serctl.models.fusion import FusionModel
from serctl.models.mixup import draw_mixup
from serctl.options import TrainOptions
from serctl.training.checkpoint import load_tensors, pack_training, save_tensors, unpack_training
from serctl.training.dataset import UtteranceSet
from serctl.training.diagnosis import diagnose
from serctl.training.inference import autocast
from serctl.training.loader import Batch, LoadTimes, load_batches
from serctl.training.objective import Denominators, Objective, Targets
from serctl.training.ranks import Ranks
from serctl.training.run_folder import MODEL, STATE
from serctl.training.sampler import Sampler, split_batch
from serctl.training.state import TrainState

SAVE_SECONDS = 600.0
"""Seconds between saves within a long epoch."""

CPU_ROWS = 8192
"""On the CPU the size of a part is this number divided by the hidden width. For the paper's network
16 rows are as fast as 64, with less padding and memory. A narrow network is faster with more."""


@dataclass(frozen=True)
class Phase:
    """A part of a training with its own batches, loss and learning rate."""

    epochs: int
    learning_rate: float
    sampler: Sampler
    objective: Objective


@dataclass
class Seconds:
    """Seconds spent in each part of a training."""

    loading: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    step: float = 0.0
    evaluation: float = 0.0


def cosine(epoch: int, epochs: int, start: float, end: float) -> float:
    """Return the learning rate of an epoch of the cosine schedule from ``start`` to ``end``."""
    end = min(start, end)
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def describe_step(loss: float | None = None, macro_f1: float | None = None) -> str:
    """Return a note for the progress bar. Its width is constant, so that the bar is steady."""
    now, dev = ("-" if value is None else f"{value:.3f}" for value in (loss, macro_f1))
    return f"loss {now:<6}  dev macro-F1 {dev:<5}"


class Trainer:
    """Trains one network, from the start or from the state in a folder.

    Args:
        model: Initialised network on the device.
        train: Training utterances, all with a target.
        phases: Consecutive phases. Each begins with the best network so far.
        score: Returns the metrics of the network, including the one that selects the epoch.
        options: Options of the training.
        folder: Folder for network and state.
        ranks: Processes that share the work.
        advance: Called after every step with the number of utterances and a note.
    """

    def __init__(
        self,
        model: FusionModel,
        train: UtteranceSet,
        phases: list[Phase],
        score: Callable[[FusionModel], dict[str, float]],
        options: TrainOptions,
        folder: Path,
        *,
        ranks: Ranks | None = None,
        advance: Callable[[int, str], None] = lambda n, note: None,
    ) -> None:
        self.model, self.train, self.phases, self.score = model, train, phases, score
        self.options, self.folder, self.advance = options, folder, advance
        self.ranks = ranks or Ranks()
        self.device = next(model.parameters()).device
        on_cpu = self.device.type == "cpu"
        rows = max(16, CPU_ROWS // options.hidden) if on_cpu else options.batch_size
        self.parts = options.accumulate or -(-options.batch_size // rows)
        self.state = TrainState()
        self.seconds = Seconds()
        # float16 gradients below 6e-8 underflow; bfloat16 has the range of float32.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=options.precision == "float16" and self.device.type == "cuda"
        )
        self.scaler.scale(torch.zeros(1, device=self.device))  # a process without a share needs it
        self._saved = time.monotonic()

    def run(self, report: Callable[[EpochRecord], None] = lambda record: None) -> TrainState:
        """Train all phases. ``report`` is called after every epoch.

        Raises:
            KeyboardInterrupt: Ctrl-C. The state is saved, and the same call continues from there.
            SerctlError: Features or loss are not finite.
        """
        optimizer = self._make_optimizer()
        if (self.folder / STATE).is_file():
            packed, document = load_tensors(self.folder / STATE)
            self.state = TrainState.of(document, self.folder / STATE)
            unpack_training(packed, self.model, optimizer)
            if self.state.scaler:  # empty without a scaler, as on a CPU
                self.scaler.load_state_dict(self.state.scaler)
        done = len(self.state.history) * len(self.train) + self.state.drawn
        self.advance(done, self._describe(None))
        with stop_requests() as stop:
            while self.state.phase < len(self.phases):
                phase = self.phases[self.state.phase]
                while self.state.epoch < phase.epochs and not self._patience_is_over():
                    self._train_epoch(phase, optimizer, stop)
                    report(self._finish_epoch(phase, optimizer))
                    self._save(optimizer)  # last: after an earlier kill the epoch is repeated
                    if stop.is_set():
                        raise KeyboardInterrupt
                self.state.phase, self.state.epoch = self.state.phase + 1, 0
                if self.state.phase < len(self.phases):
                    self.model.load_state_dict(load_tensors(self.folder / MODEL)[0])
                    optimizer = self._make_optimizer()
                    self._save(optimizer)  # a resumed second phase must start from this network
        return self.state

    def _make_optimizer(self) -> torch.optim.Optimizer:
        fused = self.device.type in ("cpu", "cuda")  # one kernel per step instead of per tensor
        decay = self.options.weight_decay
        return torch.optim.AdamW(self.model.parameters(), weight_decay=decay, fused=fused)

    def _patience_is_over(self) -> bool:
        state, patience = self.state, self.options.patience
        epochs = sum(record.phase == state.phase for record in state.history)
        waited = len(state.history) - state.best_epoch
        return 0 < patience <= min(waited, epochs)

    def _train_epoch(
        self, phase: Phase, optimizer: torch.optim.Optimizer, stop: threading.Event
    ) -> None:
        """Run the remaining steps of one epoch."""
        state = self.state
        for group in optimizer.param_groups:
            group["lr"] = cosine(
                state.epoch, phase.epochs, phase.learning_rate, self.options.final_learning_rate
            )
        # The second phase draws different batches from the first, whatever the length of that.
        plan = phase.sampler.batches(100_000 * state.phase + state.epoch)[state.step :]
        parts = [self._split(batch) for batch in plan]
        times, started = LoadTimes(), time.perf_counter()
        before = state.seconds
        flat = [part for own in parts for share in own for part in share]
        self.model.train()
        with closing(load_batches(self.train, flat, self.device, times)) as batches:
            for rows, own in zip(plan, parts, strict=True):
                shares = [islice(batches, len(share)) for share in own]
                loss, stopped, due = self._step(phase, optimizer, rows, shares, stop)
                state.loss += loss * len(rows)
                state.drawn += len(rows)
                state.step += 1
                state.seconds = before + time.perf_counter() - started
                self.advance(len(rows), self._describe(loss))
                if stopped or due:
                    self._save(optimizer)
                if stopped:
                    raise KeyboardInterrupt
        self.seconds.loading += times.waiting
        state.loading += times.waiting
        state.reading += times.reading

    def _describe(self, loss: float | None) -> str:
        """Return the loss of a step and the dev metric of the last epoch for the progress bar."""
        history = self.state.history
        return describe_step(loss, history[-1].dev_macro_f1 if history else None)

    def _split(self, batch: NDArray[np.int64]) -> list[list[NDArray[np.int64]]]:
        """Return the parts of each share of a batch that this process computes."""
        parts = split_batch(batch, self.train.costs, self.parts * self.ranks.shares)
        return [parts[share :: self.ranks.shares] for share in self.ranks.own]

    def _step(
        self,
        phase: Phase,
        optimizer: torch.optim.Optimizer,
        rows: NDArray[np.int64],
        shares: Sequence[Iterator[Batch]],
        stop: threading.Event,
    ) -> tuple[float, bool, bool]:
        """Run one step; return the loss of the whole batch, whether to stop and whether to save."""
        state, ranks = self.state, self.ranks
        whole = phase.objective.denominators(Targets.of(self.train, rows, torch.device("cpu")))
        total: torch.Tensor | float = 0.0
        for share, batches in zip(ranks.own, shares, strict=True):
            # Dropout and MixUp depend only on seed, epoch, step and share, so that a resumed
            # training draws the same values as an uninterrupted one.
            place = [self.options.seed, state.phase, state.epoch, state.step, share]
            self._rng = np.random.default_rng(place)
            torch.manual_seed(int(self._rng.integers(2**63)))
            total += sum(self._accumulate(phase, batch, whole) for batch in batches)
        started = self._tick()
        due = time.monotonic() - self._saved > SAVE_SECONDS
        # Summed with the gradients, so that a request of one rank holds for all.
        flags = [float(total), float(stop.is_set()), float(due)]
        loss, wanted, due_anywhere = ranks.sum_gradients(self.model, flags)
        if not math.isfinite(loss):
            where = f"epoch {len(state.history) + 1}, step {state.step + 1}"
            raise diagnose(self.model, self.train.take(rows), self.device, where)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        self.seconds.step += self._tick() - started
        return loss, wanted > 0, due_anywhere > 0

    def _accumulate(self, phase: Phase, batch: Batch, whole: Denominators) -> torch.Tensor:
        """Accumulate the gradients of a part of a batch; return its share of the loss."""
        targets = Targets.of(self.train, batch.rows, self.device)
        mixup = None
        if self.options.mixup and self.state.phase == 0:
            alpha, share = self.options.mixup_alpha, self.options.mixup
            mixup = draw_mixup(len(batch.rows), alpha, share, self._rng)
        started = self._tick()
        with autocast(self.device, self.options.precision):
            output = self.model(batch.frames, batch.lengths, mixup)
            loss = phase.objective(output, targets.mix(mixup), whole)
        forward = self._tick()
        self.scaler.scale(loss).backward()
        self.seconds.forward += forward - started
        self.seconds.backward += self._tick() - forward
        return loss.detach()

    def _tick(self) -> float:
        if self.options.profile and self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _finish_epoch(self, phase: Phase, optimizer: torch.optim.Optimizer) -> EpochRecord:
        """Evaluate, and keep the network if it is the best so far."""
        state, started = self.state, time.perf_counter()
        metrics = self.score(self.model)
        evaluation = time.perf_counter() - started
        self.seconds.evaluation += evaluation
        record = EpochRecord(
            epoch=len(state.history) + 1,
            phase=state.phase,
            loss=state.loss / state.drawn,
            learning_rate=optimizer.param_groups[0]["lr"],
            **metrics,
            seconds=state.seconds,
            loading_seconds=state.loading,
            reading_seconds=state.reading,
            evaluation_seconds=evaluation,
            utterances_per_second=state.drawn / max(state.seconds, 1e-9),
        )
        state.history.append(record)
        last = self.options.select_by == "last"
        value = float(record.epoch if last else metrics[f"dev_{self.options.select_by}"])
        if value > state.best:
            state.best, state.best_epoch = value, record.epoch
            model = self.folder / MODEL
            self.ranks.call_first(lambda: save_tensors(model, self.model.state_dict()))
        state.epoch, state.step, state.drawn = state.epoch + 1, 0, 0
        state.loss = state.seconds = state.loading = state.reading = 0.0
        return record

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        self.state.scaler = self.scaler.state_dict()
        packed = pack_training(self.model, optimizer)
        path, state = self.folder / STATE, self.state.to_dict()
        self.ranks.call_first(lambda: save_tensors(path, packed, state))
        self._saved = time.monotonic()
