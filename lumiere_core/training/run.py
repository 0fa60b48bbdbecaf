"""The training loop: atomic checkpoints, exact resume, a JSON log and a loss plot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..checkpoints.format import load_stunet, save_checkpoint
from ..conditioning.text import load_text_encoder
from ..runtime.outputs import remove_half_written
from .batches import StageBatches, stage_batches
from .caption_cache import CaptionCache
from .engine import Engine
from .files import StageFiles, start_file, text_file
from .folder_lock import sole_use
from .image_folder import ImageFolder
from .log import append_entry, trim_log
from .loss_plot import plot_losses
from .objectives import START_KINDS, DiffusionObjective, TextObjective, build_network, trainable
from .optimizer import NamedOptimizer
from .preflight import check_stages
from .recipe import Recipe, Stage
from .settings import Settings, require_same, save_settings, stage_settings
from .source import ClipSource, RecordedSource, variety_of
from .state import State, load_state, save_state

LOG_STEPS = 20  # the log holds the mean loss of so many
DROPOUT_STRIDE = 10**9  # between the seeds of two processes; no stage has as many steps
VALIDATION_BATCHES = 4
EMA_WARMUP = 10  # the average forgets the first steps: decay is at most (1 + step) / (EMA_WARMUP + step)


def train(
    recipe: Recipe,
    folder: str | Path,
    *,
    sources: Callable[[Stage], ClipSource] = ImageFolder,
    stages: list[str] | None = None,
    device: str | None = None,
    precision: str = "auto",
    compile: bool = False,
    workers: int = 0,
    save_every_seconds: float = 120.0,
) -> list[Path]:
    """Train the stages of a recipe in order; each writes `<folder>/<stage>.safetensors` when it is done.

    A finished stage is skipped, a killed one goes on where it was last saved, with bit-identical results on a CPU if it
    runs as many threads again; what it has not come to, steps and phases, may change meanwhile. Raises ValueError,
    before the first stage begins, for what would stop one of them: bad input, another process in the folder, a recipe
    that has changed.
    sources: what a stage learns from; the default knows folders of images only. stages: only these.
    device: cpu, cuda, cuda:1...; None takes what accelerate finds. precision: bf16 (autocast), no, or auto: bf16 but on
    CPUs, where its backward pass is slower. compile: torch.compile the network (needs a C++ compiler on CPUs). workers:
    processes that make batches.
    """
    folder = Path(folder)
    chosen = chosen_stages(recipe, stages)
    engine = Engine(device, precision)  # there is one, or nothing is begun
    if workers < 0:
        raise ValueError(f"training: workers must be at least 0; got {workers}.")
    with sole_use(folder):
        unfinished = check_stages(recipe, chosen, folder, sources)
        engine.processes.wait_for_everyone()  # all have seen the same files
        for stage in chosen:
            if engine.is_main:
                for file in StageFiles.of(folder, stage.name):
                    remove_half_written(file)
            if stage.name in unfinished:
                source = unfinished.pop(stage.name)
                run = StageRun(recipe, stage, folder, source, device, precision, compile, workers)
                run.train(save_every_seconds)
    return [StageFiles.of(folder, stage.name).weights for stage in chosen]


def chosen_stages(recipe: Recipe, names: list[str] | None) -> tuple[Stage, ...]:
    """The stages of these names in the recipe's order; all without names. Raises ValueError for an unknown one."""
    wanted = [recipe.stage(name) for name in names or ()] or recipe.stages
    return tuple(stage for stage in recipe.stages if stage in wanted)


class StageRun:
    """One stage on its way: network, optimizer, moving average, step, log. `state.safetensors` holds all of it."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        folder: Path,
        source: ClipSource,
        device: str | None,
        precision: str,
        compile: bool,
        workers: int,
    ):
        self.recipe, self.stage, self.folder, self.source, self.workers = recipe, stage, folder, source, workers
        self.files = StageFiles.of(folder, stage.name)
        torch.manual_seed(recipe.seed)
        self.engine = Engine(device, precision)
        self.objective, self.tokenize = build_objective(recipe, stage, folder, source, self.engine)
        self.objective.to(self.engine.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.parameters = trainable(self.objective)
        self.optimizer = NamedOptimizer(stage.optimizer, self.parameters, stage.weight_decay)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step = 0
        if self.files.state.is_file():
            self.load_state()
        if self.engine.is_main and self.files.log.is_file():
            trim_log(self.files.log, self.step)
        if compile and hasattr(self.objective, "network"):
            self.objective.network.compile(dynamic=False)
        self.model = self.engine.prepare(self.objective)

    @cached_property
    def settings(self) -> Settings:
        """What this training is of."""
        return stage_settings(self.recipe, self.stage, self.folder, self.source)

    def train(self, save_every_seconds: float) -> None:
        stage, saved = self.stage, time.monotonic()
        steps, main = range(self.step, stage.steps), self.engine.is_main
        loader = DataLoader(self.batches(), batch_size=None, sampler=steps, num_workers=self.workers)
        bar = tqdm(loader, initial=self.step, total=stage.steps, desc=stage.name, dynamic_ncols=True, disable=not main)
        losses: list[float] = []
        for batch in bar:
            entry = self.train_step(batch)
            losses.append(entry["loss"])
            checked = stage.validate_every is not None and self.step % stage.validate_every == 0
            if checked:
                entry["validation"] = self.validate()
            if checked or self.step % LOG_STEPS == 0 or self.step == stage.steps:
                mean = sum(losses) / len(losses)
                losses.clear()
                bar.set_postfix(loss=f"{mean:.4f}")
                if main:
                    append_entry(self.files.log, entry | {"loss": mean})
            if time.monotonic() - saved > save_every_seconds:
                self.save()
                saved = time.monotonic()
        self.finish()

    def batches(self) -> StageBatches:
        """Item i is this process's share of the batch of step i."""
        return stage_batches(self.stage, self.tokenize, self.recipe.seed, self.source, self.engine.share)

    def train_step(self, batch: dict) -> dict:
        """One optimizer step; returns the log entry."""
        batch = {name: x.to(self.engine.device) for name, x in batch.items()}
        weight = batch.pop("weight", 1.0)
        self.model.train()
        # For dropout: a resumed run draws what the whole run drew, and each process its own.
        torch.manual_seed(self.recipe.seed + self.step + DROPOUT_STRIDE * self.engine.share.rank)
        with self.engine.autocast():
            loss = self.model(batch) * weight
        self.engine.processes.backward(loss)
        self.engine.processes.clip_grad_norm_(self.parameters.values(), self.stage.clip_norm)
        self.optimizer.step(self.stage.learning_rate * learning_rate_factor(self.stage, self.step))
        self.step += 1
        self.update_average()
        loss = self.engine.mean(loss)
        if loss != loss:
            raise ValueError(
                f"training {self.stage.name}: the loss is NaN at step {self.step}. Lower learning_rate, and delete "
                f"{self.files.state} if it is there, to start the stage again."
            )
        return {"step": self.step, "loss": loss, "time": round(time.time(), 1)}

    @cached_property
    def held_out(self) -> list[dict]:
        """The batches that the training is validated on, the same every time: of its last phase, without variation."""
        last = replace(self.stage.phases[-1], steps=VALIDATION_BATCHES, vary=0.0)
        stage, seed = replace(self.stage, phases=(last,), text_dropout=0.0), self.recipe.seed + 1
        source = self.source.held_out() if isinstance(self.source, RecordedSource) else self.source
        dataset = stage_batches(stage, self.tokenize, seed, source, self.engine.share)
        return [dataset[i] for i in range(VALIDATION_BATCHES)]

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss of the averaged weights on the held-out batches."""
        live = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.set_parameters(self.average)
        self.objective.eval()
        losses = []
        for batch in self.held_out:
            batch = {name: x.to(self.engine.device) for name, x in batch.items()}
            weight = batch.pop("weight", 1.0)
            with self.engine.autocast():
                losses.append(self.engine.mean(self.objective(batch) * weight))
        self.set_parameters(live)
        return sum(losses) / len(losses)

    @torch.no_grad()
    def update_average(self) -> None:
        decay = min(self.stage.ema_decay, (1 + self.step) / (EMA_WARMUP + self.step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def save(self) -> None:
        """Training state, atomically, then the loss plot and the averaged weights as a checkpoint to look at."""
        if not self.engine.is_main:
            return
        state = State(self.step, self.parameters, self.average, self.optimizer.state())
        save_settings(self.files.settings, self.settings)
        save_state(self.files.state, self.stage, state)
        self.export(self.files.partial)
        plot_losses(self.files.log, self.files.plot, self.stage.name)

    @torch.no_grad()
    def load_state(self) -> None:
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        expected = {"model": shapes, "average": shapes, "optimizer": self.optimizer.state_shapes()}
        state = load_state(self.files.state, self.stage, expected)
        require_same(self.files.settings, self.settings, self.files.state, state.step)
        for name, parameter in self.parameters.items():
            parameter.copy_(state.model[name])
            self.average[name].copy_(state.average[name])
        self.optimizer.load_state(state.moments, state.step)
        self.step = state.step

    def finish(self) -> None:
        self.save()
        if self.engine.is_main:
            self.export(self.files.weights)
            self.files.partial.unlink(missing_ok=True)
            self.files.state.unlink(missing_ok=True)
        self.engine.processes.wait_for_everyone()  # the next stage reads the file

    def export(self, path: Path) -> None:
        """The moving average as a checkpoint; the live weights are put back afterwards."""
        live = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.set_parameters(self.average)
        save_checkpoint(path, *self.objective.export(self.record()))
        self.set_parameters(live)

    @torch.no_grad()
    def set_parameters(self, values: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def record(self) -> dict:
        """The training record of the metadata."""
        samples = sum(self.stage.phase_at(step).batch for step in range(self.step))
        record = {
            "recipe": self.recipe.name,
            "stage": self.stage.name,
            "steps": self.step,
            "samples": samples,
            "device": self.engine.device.type,
            "seed": self.recipe.seed,
        }
        return record | self.source.record()


def build_objective(recipe: Recipe, stage: Stage, folder: Path, source: ClipSource, engine: Engine | None = None):
    """The module to train and the tokenizer call; earlier stages' files are read from `folder`.

    Captions that can be listed are encoded beforehand, by all processes together; the encoder is not kept then.
    """
    if stage.kind == "text":
        objective = TextObjective(stage, source.label_classes)
        return objective, objective.encoder.tokenize
    text, start = text_file(recipe, folder), start_file(stage, folder)
    cache = encoder = None
    if engine is not None and isinstance(source, RecordedSource):
        cache = encode_captions(source, folder, text, engine)
    else:
        encoder = load_text_encoder(text)
    network = build_network(stage, start and load_stunet(start, START_KINDS)[1])
    objective = DiffusionObjective(stage, network, encoder, text.name, source.fps, variety_of(source))
    return objective, cache or encoder.tokenize


def encode_captions(source: RecordedSource, folder: Path, text: Path, engine: Engine) -> CaptionCache:
    """All captions of a source, and the empty one."""
    cache, (rank, ranks) = CaptionCache(folder, text), engine.share
    cache.fill(["", *source.all_captions()][rank::ranks], engine.device)
    engine.processes.wait_for_everyone()
    return cache


def learning_rate_factor(stage: Stage, step: int) -> float:
    """Linear warm-up, constant, then linear decay to zero over the last `stage.decay` of all steps."""
    warm = (step + 1) / stage.warmup if stage.warmup else 1.0
    left = (stage.steps - step) / max(stage.decay * stage.steps, 1.0)
    return min(1.0, warm, left)
