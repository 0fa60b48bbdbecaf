"""One optimizer step after another, against closed forms: learning rate, clipped gradients, the moving average."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.lumiere_core.training import train
from lumiere_video.lumiere_core.training.engine import chosen_precision
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.lumiere_core.training.run import EMA_WARMUP, LOG_STEPS, StageRun
from lumiere_video.lumiere_core.training.source import LabelledCaption

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

T5 = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "max_tokens": 8}
STEPS = 8


class TwoWords:
    """A source of captions of one word."""

    fps, label_classes = 16.0, {"word": ("yes", "no")}

    def captions(self, count, rng):
        return [LabelledCaption(("yes", "no")[i], (i,)) for i in rng.integers(2, size=count).tolist()]

    def record(self):
        return {}

    def digest(self):
        return "two words"


def words(steps=STEPS, **fields) -> Recipe:
    """A text encoder, of which nothing but the given fields matters."""
    options = {"warmup": 0, "decay": 0.0, "learning_rate": 0.02, **fields}
    return Recipe("tiny", (Stage("words", "text", (Phase(steps, 4),), T5, text_dropout=0.0, **options),), seed=5)


@pytest.fixture
def begin(tmp_path):
    """Begin to train one."""

    def begin(**fields) -> StageRun:
        recipe = words(**fields)
        return StageRun(recipe, recipe.stages[0], tmp_path, TwoWords(), "cpu", "no", compile=False, workers=0)

    return begin


def weights(run: StageRun) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.parameters.items()}


def take_steps(run: StageRun):
    """Yields the weights after each step."""
    dataset = run.batches()
    for step in range(STEPS):
        run.train_step(dataset[step])
        yield weights(run)


def test_steps_are_as_long_as_the_schedule_says(begin, monkeypatch):
    run, rates = begin(warmup=2, decay=0.5), []
    monkeypatch.setattr(run.optimizer, "step", rates.append)
    list(take_steps(run))
    assert rates == pytest.approx([0.02 * share for share in (0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25)])


def test_an_optimizer_moves_by_the_rate_it_is_given(begin):
    """AdamW's first step is of that length in every weight, whatever the gradient."""
    run = begin(weight_decay=0.0, warmup=4)
    before = weights(run)
    run.train_step(run.batches()[0])
    moved = torch.cat([(parameter - before[name]).abs().flatten() for name, parameter in weights(run).items()])
    assert moved.max() == pytest.approx(0.02 / 4, rel=1e-3) and moved.median() <= 0.02 / 4


@pytest.mark.parametrize(("clip_norm", "clipped"), [(1e-3, True), (1e9, False)])
def test_gradients_are_clipped_to_the_norm_of_the_stage(begin, monkeypatch, clip_norm, clipped):
    run, norms = begin(clip_norm=clip_norm), []

    def measured(rate):
        norms.append(torch.cat([p.grad.flatten() for p in run.parameters.values()]).norm().item())
        for parameter in run.parameters.values():
            parameter.grad = None

    monkeypatch.setattr(run.optimizer, "step", measured)
    list(take_steps(run))
    if clipped:
        assert norms == pytest.approx([clip_norm] * STEPS, rel=1e-3)
    else:
        assert min(norms) > 1e-2


@pytest.mark.parametrize("ema_decay", [0.999, 0.2])
def test_what_is_written_is_the_moving_average(begin, tmp_path, ema_decay):
    """A product of decays and a sum, both from the definition; the live weights go on as if nothing had happened."""
    run = begin(ema_decay=ema_decay)
    average = weights(run)
    for count, live in enumerate(take_steps(run), start=1):
        decay = min(ema_decay, (1 + count) / (EMA_WARMUP + count))
        average = {name: decay * average[name] + (1 - decay) * live[name] for name in average}
    run.export(tmp_path / "words.safetensors")
    written = load_file(tmp_path / "words.safetensors")
    compared = 0
    for name, expected in average.items():
        own = written.get(name.removeprefix("t5."))
        if own is not None:  # the heads are thrown away
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)
            assert (own - live[name]).abs().max() > 1e-4
            compared += 1
    assert compared == len(written)
    assert all(torch.equal(parameter, live[name]) for name, parameter in run.parameters.items())


def test_a_loss_that_is_no_number_stops_the_run(begin):
    run = begin()
    with torch.no_grad():
        next(iter(run.parameters.values())).fill_(torch.nan)
    with pytest.raises(ValueError, match="training words: the loss is NaN at step 1. Lower learning_rate."):
        run.train_step(run.batches()[0])


def test_the_log_holds_mean_losses(begin, tmp_path):
    """Each of the steps since the entry before, of which the last may be fewer."""
    steps = 2 * LOG_STEPS + 5
    run = begin(steps=steps)
    dataset = run.batches()
    losses = [run.train_step(dataset[step])["loss"] for step in range(steps)]
    folder = tmp_path / "a" / "folder"  # is made
    path = train(words(steps), folder, sources=lambda _: TwoWords(), device="cpu", precision="no")[0]
    entries = [json.loads(line) for line in (folder / "words.log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [LOG_STEPS, 2 * LOG_STEPS, steps]
    parts = losses[:LOG_STEPS], losses[LOG_STEPS : 2 * LOG_STEPS], losses[2 * LOG_STEPS :]
    assert [entry["loss"] for entry in entries] == pytest.approx([sum(part) / len(part) for part in parts])
    record = {"recipe": "tiny", "stage": "words", "steps": steps, "samples": 4 * steps, "device": "cpu", "seed": 5}
    assert load_info(path).training == record


def test_steps_draw_their_own_dropout(begin):
    """One batch over and over, without learning: the loss moves with what is dropped, in every run alike."""
    drawn = []
    for _ in range(2):
        run = begin(learning_rate=1e-12, weight_decay=0.0)
        batch = run.batches()[0]
        drawn.append([run.train_step(batch)["loss"] for _ in range(4)])
        torch.rand(7)  # whatever else draws
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4


@pytest.mark.parametrize(
    ("precision", "device", "chosen"),
    [
        ("auto", "cpu", "no"),
        ("auto", "cuda", "bf16"),
        ("auto", "cuda:1", "bf16"),
        ("bf16", "cpu", "bf16"),
        ("no", "cuda", "no"),
    ],
)
def test_precision_is_half_but_on_cpus(precision, device, chosen):
    assert chosen_precision(precision, torch.device(device)) == chosen
