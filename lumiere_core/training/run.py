"""The training loop: accelerate as the engine, atomic checkpoints, exact resume, a JSON log and a loss plot."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..checkpoints.format import load_stunet, save_checkpoint
from ..conditioning.text import load_text_encoder
from ..runtime.devices import resolve_device
from ..runtime.outputs import atomic_path
from .batches import StageBatches, stage_batches
from .image_folder import ImageFolder
from .loss_plot import plot_losses
from .objectives import DiffusionObjective, TextObjective, build_network, trainable
from .optimizer import NamedOptimizer
from .recipe import Recipe, Stage
from .source import ClipSource

LOG_STEPS = 20  # the log holds the mean loss of so many
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

    A finished stage is skipped, a killed one goes on where it was last saved, with bit-identical results on a CPU,
    if it runs as many threads again.
    sources: what a stage learns from; the default knows folders of images only. stages: only these.
    device: cpu, cuda...; None takes what accelerate finds. precision: bf16 (autocast), no, or auto: bf16 but on CPUs,
    where its backward pass is slower. compile: torch.compile the network (needs a C++ compiler on CPUs). workers:
    processes that make batches.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [recipe.stage(name) for name in stages] if stages else recipe.stages
    written = []
    for stage in chosen:
        path = stage_file(folder, stage)
        if not path.is_file():
            run = StageRun(recipe, stage, folder, sources(stage), device, precision, compile, workers)
            run.train(save_every_seconds)
        written.append(path)
    return written


def stage_file(folder: Path, stage: Stage) -> Path:
    return folder / f"{stage.name}.safetensors"


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
        from accelerate import Accelerator

        self.recipe, self.stage, self.folder, self.source, self.workers = recipe, stage, folder, source, workers
        self.state_file = folder / f"{stage.name}.state.safetensors"
        self.log_file = folder / f"{stage.name}.log.jsonl"
        torch.manual_seed(recipe.seed)
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision=chosen_precision(precision, device))
        if device is not None and torch.device(device).type != self.accelerator.device.type:
            raise ValueError(f"training: device must be {self.accelerator.device.type} here; got {device}.")
        self.objective, self.tokenize = build_objective(recipe, stage, folder, source)
        self.objective.to(self.accelerator.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.parameters = trainable(self.objective)
        self.optimizer = NamedOptimizer(stage.optimizer, self.parameters, stage.weight_decay)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step = 0
        if self.state_file.is_file():
            self.load_state()
        self.trim_log()
        if compile and hasattr(self.objective, "network"):
            self.objective.network.compile(dynamic=False)
        self.engine = self.accelerator.prepare(self.objective)

    def train(self, save_every_seconds: float) -> None:
        stage, saved = self.stage, time.monotonic()
        steps = range(self.step, stage.steps)
        loader = DataLoader(self.batches(), batch_size=None, sampler=steps, num_workers=self.workers)
        bar = tqdm(loader, initial=self.step, total=stage.steps, desc=stage.name, dynamic_ncols=True)
        losses: list[float] = []
        for batch in bar:
            entry = self.train_step(batch)
            losses.append(entry["loss"])
            if self.step % LOG_STEPS == 0 or self.step == stage.steps:
                mean = sum(losses) / len(losses)
                losses.clear()
                bar.set_postfix(loss=f"{mean:.4f}")
                self.write_log(entry | {"loss": mean})
            if time.monotonic() - saved > save_every_seconds:
                self.save()
                saved = time.monotonic()
        self.finish()

    def batches(self) -> StageBatches:
        """Item i is the batch of step i."""
        return stage_batches(self.stage, self.tokenize, self.recipe.seed, self.source)

    def train_step(self, batch: dict) -> dict:
        """One optimizer step; returns the log entry."""
        batch = {name: x.to(self.accelerator.device) for name, x in batch.items()}
        self.engine.train()
        torch.manual_seed(self.recipe.seed + self.step)  # for dropout: a resumed run draws what the whole run drew
        with self.accelerator.autocast():
            loss = self.engine(batch)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parameters.values(), self.stage.clip_norm)
        self.optimizer.step(self.stage.learning_rate * learning_rate_factor(self.stage, self.step))
        self.step += 1
        self.update_average()
        loss = loss.item()
        if loss != loss:
            raise ValueError(f"training {self.stage.name}: the loss is NaN at step {self.step}. Lower learning_rate.")
        return {"step": self.step, "loss": loss, "time": round(time.time(), 1)}

    @torch.no_grad()
    def update_average(self) -> None:
        decay = min(self.stage.ema_decay, (1 + self.step) / (EMA_WARMUP + self.step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def write_log(self, entry: dict) -> None:
        if self.accelerator.is_main_process:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """Training state, atomically, then the loss plot and the averaged weights as a checkpoint to look at."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": p for name, p in self.average.items()}
        tensors |= {f"optimizer.{name}": p for name, p in self.optimizer.state().items()}
        with atomic_path(self.state_file) as path:
            metadata = {"step": str(self.step), "optimizer": self.stage.optimizer}
            save_file({name: x.contiguous().cpu() for name, x in tensors.items()}, str(path), metadata)
        self.export(self.folder / f"{self.stage.name}.partial.safetensors")
        plot_losses(self.log_file, self.folder / f"{self.stage.name}.loss.png", self.stage.name)

    def load_state(self) -> None:
        with safe_open(str(self.state_file), framework="pt") as file:
            metadata = file.metadata()
            self.step = int(metadata["step"])
            saved = {name: file.get_tensor(name) for name in file.keys()}
        shapes = {name.removeprefix("model."): x.shape for name, x in saved.items() if name.startswith("model.")}
        if shapes != {name: parameter.shape for name, parameter in self.parameters.items()}:
            raise ValueError(
                f"{self.state_file}: the saved training state is of another network than stage {self.stage.name!r} of "
                "the recipe. Delete it to start the stage again."
            )
        if metadata.get("optimizer", self.stage.optimizer) != self.stage.optimizer:
            raise ValueError(
                f"{self.state_file}: the saved training state is of the optimizer {metadata['optimizer']}; stage "
                f"{self.stage.name!r} has {self.stage.optimizer}. Delete it to start the stage again, or set it back."
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(saved[f"model.{name}"])
                self.average[name].copy_(saved[f"average.{name}"])
        moments = {name: x for name, x in saved.items() if name.startswith("optimizer.")}
        self.optimizer.load_state({name.removeprefix("optimizer."): x for name, x in moments.items()}, self.step)

    def trim_log(self) -> None:
        """Drop what a killed run logged after it was last saved, and a line it had not finished."""
        if self.accelerator.is_main_process and self.log_file.is_file():
            lines = self.log_file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.step]
            with atomic_path(self.log_file) as path:
                path.write_text("".join(kept), encoding="utf-8")

    def finish(self) -> None:
        self.save()
        if self.accelerator.is_main_process:
            self.export(stage_file(self.folder, self.stage))
            (self.folder / f"{self.stage.name}.partial.safetensors").unlink()
            self.state_file.unlink()
        self.accelerator.wait_for_everyone()  # the next stage reads the file

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
            "device": self.accelerator.device.type,
            "seed": self.recipe.seed,
        }
        return record | self.source.record()


def chosen_precision(precision: str, device: str | None) -> str:
    """What "auto" stands for on a device; None is the one that there is."""
    if precision != "auto":
        return precision
    kind = torch.device(device).type if device else resolve_device("auto").type
    return "no" if kind == "cpu" else "bf16"


def build_objective(recipe: Recipe, stage: Stage, folder: Path, source: ClipSource):
    """The module to train and the tokenizer call; earlier stages' files are read from `folder`."""
    if stage.kind == "text":
        objective = TextObjective(stage, source.label_classes)
        return objective, objective.encoder.tokenize
    text_file = Path(recipe.text_encoder) if recipe.text_encoder else stage_file(folder, recipe.text_stage)
    encoder = load_text_encoder(text_file)
    start = None
    if stage.start is not None:
        file = Path(stage.start) if stage.starts_from_file else stage_file(folder, recipe.stage(stage.start))
        start = load_stunet(file, ("t2i", "base", "ssr"))[1]
    objective = DiffusionObjective(stage, build_network(stage, start), encoder, text_file.name, source.fps)
    return objective, encoder.tokenize


def learning_rate_factor(stage: Stage, step: int) -> float:
    """Linear warm-up, constant, then linear decay to zero over the last `stage.decay` of all steps."""
    warm = (step + 1) / stage.warmup if stage.warmup else 1.0
    left = (stage.steps - step) / max(stage.decay * stage.steps, 1.0)
    return min(1.0, warm, left)
