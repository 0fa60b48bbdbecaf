"""The losses, against closed forms: what each network is asked, and which answer costs nothing."""

import pytest
import torch

from lumiere_video.lumiere_core.conditioning.low_res import upsample
from lumiere_video.lumiere_core.conditioning.text import build_text_encoder
from lumiere_video.lumiere_core.diffusion import NoiseSchedule
from lumiere_video.lumiere_core.diffusion.denoiser import RESIDUAL_STD
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.training.objectives import (
    DiffusionObjective,
    TextObjective,
    build_network,
    temporal_config,
)
from lumiere_video.lumiere_core.training.recipe import Phase, Stage

T5 = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16}
MAX_TOKENS = 24
NETWORK = {
    "channels": [8],
    "attention": [False],
    "norm_groups": 4,
    "text_dim": 16,
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
}
SSR_NETWORK = {**NETWORK, "in_channels": 6, "noise_level_embedding": True}
CAPTIONS = ["a red circle", "two blue stars"]
TIMESTEPS = torch.tensor([40, 900])
LEVELS = torch.tensor([700, 20])


class Asked:
    """Stands in for a network: keeps what it is asked, and answers what it is told to."""

    def __init__(self, answer=None):
        self.answer = answer

    def __call__(self, x, timesteps, text, noise_level=None):
        self.x, self.timesteps, self.text, self.noise_level = x, timesteps, text, noise_level
        return torch.zeros_like(x[:, :3]) if self.answer is None else self.answer


def diffusion_objective(prediction="v", kind="t2i") -> DiffusionObjective:
    torch.manual_seed(0)
    network = SSR_NETWORK if kind == "ssr_image" else NETWORK
    info = {"prediction": prediction}
    stage = Stage("a", kind, (Phase(1, 2),), network, learning_rate=1e-3, size=16, info=info)
    return DiffusionObjective(stage, build_network(stage, None), build_text_encoder(T5, MAX_TOKENS), "text", 16.0)


def training_batch(kind="t2i") -> dict:
    generator = torch.Generator().manual_seed(1)
    video, noise, low_res_noise = (torch.randn(2, 3, 1, 16, 16, generator=generator) for _ in range(3))
    ids, mask = build_text_encoder(T5, MAX_TOKENS).tokenize(CAPTIONS)
    batch = {"ids": ids, "mask": mask, "video": video.tanh(), "noise": noise, "timesteps": TIMESTEPS}
    if kind == "ssr_image":
        low_res = torch.rand(2, 3, 1, 4, 4, generator=generator) * 2 - 1
        batch |= {"low_res": low_res, "low_res_noise": low_res_noise, "noise_level": LEVELS}
    return batch


def ask(objective, batch, answer=None) -> tuple[torch.Tensor, Asked]:
    asked = Asked(answer)
    objective.network.forward = asked
    with torch.no_grad():
        return objective(batch), asked


def mixed(clean, noise, timesteps) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """cos * clean + sin * noise for the angles of the default schedule's timesteps; and cos and sin."""
    steps = (timesteps.double() + 1) / 1000  # abar of Nichol & Dhariwal 2021, eq. 17, far from where it is capped
    squared = [torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2 for t in (steps, steps * 0)]
    cos = (squared[0] / squared[1]).sqrt().float().view(-1, 1, 1, 1, 1)
    sin = (1 - cos**2).sqrt()
    return cos * clean + sin * noise, cos, sin


def right_answer(prediction, batch, low_res=None) -> torch.Tensor:
    _, cos, sin = mixed(batch["video"], batch["noise"], TIMESTEPS)
    answers = {"eps": batch["noise"], "v": cos * batch["noise"] - sin * batch["video"]}  # Salimans & Ho 2022, app. D
    return answers[prediction] if low_res is None else (batch["video"] - low_res) / RESIDUAL_STD


@pytest.mark.parametrize("prediction", ["v", "eps"])
def test_the_right_answer_costs_nothing_and_others_their_squared_distance(prediction):
    objective, batch = diffusion_objective(prediction), training_batch()
    right = right_answer(prediction, batch)
    assert ask(objective, batch, right)[0] == pytest.approx(0, abs=1e-8)
    assert ask(objective, batch, right + 0.5)[0] == pytest.approx(0.25, rel=1e-3)
    assert ask(objective, batch, -right)[0] == pytest.approx(4 * (right**2).mean().item(), rel=1e-3)


def test_the_residual_is_of_the_low_res_clip_that_the_network_sees():
    objective, batch = diffusion_objective("residual", "ssr_image"), training_batch("ssr_image")
    low_res = ask(objective, batch)[1].x[:, 3:]
    right = right_answer("residual", batch, low_res)
    assert ask(objective, batch, right)[0] == pytest.approx(0, abs=1e-8)
    assert ask(objective, batch, -right)[0] == pytest.approx(4 * (right**2).mean().item(), rel=1e-3)


def test_a_network_is_told_how_noisy_what_it_sees_is():
    batch = training_batch()
    asked = ask(diffusion_objective(), batch)[1]
    assert asked.timesteps.tolist() == TIMESTEPS.tolist() and asked.timesteps.is_floating_point()
    torch.testing.assert_close(asked.x, mixed(batch["video"], batch["noise"], TIMESTEPS)[0], rtol=1e-4, atol=1e-5)


def test_an_ssr_is_told_how_noisy_the_low_res_clip_is():
    batch = training_batch("ssr_image")
    asked = ask(diffusion_objective(kind="ssr_image"), batch)[1]
    assert asked.noise_level.tolist() == LEVELS.tolist() and asked.timesteps.tolist() == TIMESTEPS.tolist()
    large = upsample(batch["low_res"], 4, False)
    expected = [mixed(batch["video"], batch["noise"], TIMESTEPS)[0], mixed(large, batch["low_res_noise"], LEVELS)[0]]
    torch.testing.assert_close(asked.x, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


def conditional_objective() -> DiffusionObjective:
    torch.manual_seed(0)
    start = build_network(Stage("a", "t2i", (Phase(1, 2),), NETWORK, learning_rate=1e-3), None)
    temporal = {"attention_head_dim": 8, "embedding_dim": 16}
    phases, tasks = (Phase(1, 2, frames=3),), {"box": 1}
    stage = Stage("b", "base", phases, temporal, learning_rate=1e-3, start="a.safetensors", tasks=tasks)
    return DiffusionObjective(stage, build_network(stage, start), build_text_encoder(T5, MAX_TOKENS), "text", 16.0)


def test_a_conditional_network_hears_what_is_known_and_where():
    """<J, C, M>: the noised clip, the clip where it is given, and the paper's M, 1 there."""
    batch = training_batch()
    change = torch.zeros(2, 1, 1, 16, 16)
    change[0, ..., 4:9] = 1
    change[1] = 1
    asked = ask(conditional_objective(), batch | {"change_mask": change})[1]
    torch.testing.assert_close(
        asked.x[:, :3], mixed(batch["video"], batch["noise"], TIMESTEPS)[0], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(asked.x[:, 3:6], batch["video"] * (1 - change))
    assert torch.equal(asked.x[:, 6:], 1 - change)


@pytest.mark.parametrize(("said", "halve"), [({}, True), ({"halve": True}, True), ({"halve": False}, False)])
def test_convolution_is_inflated_everywhere_but_at_the_coarsest_level(said, halve):
    config = temporal_config({**said, "embedding_dim": 24}, 3)
    assert [level.kind for level in config.levels] == ["conv", "conv", "attention"]
    assert [level.halve for level in config.levels[:2]] == [halve, halve] and config.embedding_dim == 24


PHASES = (Phase(1, 2, frames=3), Phase(1, 2, frames=5))


@pytest.mark.parametrize(
    ("phases", "frames"),
    [(PHASES, 5), (PHASES[::-1], 3), ((*PHASES, Phase(1, 2, frames=4, excerpt_of=9)), 9)],
)
def test_a_file_says_what_its_network_was_trained_on(phases, frames):
    """None of it is what a file says by itself."""
    schedule = NoiseSchedule("linear", 400, 2.0)
    own = {"guidance": 2.5, "window": 7, "prediction": "eps", "thresholding": {"percentile": 0.9, "maximum": 2.0}}
    options = {"schedule": schedule, "size": 24, "scale": 3, "align_corners": False, "info": own}
    stage = Stage("a", "ssr_image", phases, SSR_NETWORK, learning_rate=1e-3, **options)
    encoder = build_text_encoder(T5, MAX_TOKENS)
    tensors, info = DiffusionObjective(stage, build_network(stage, None), encoder, "words", 24.0).export({"steps": 3})
    assert (info.kind, info.frames, info.size, info.fps, info.scale) == ("ssr", frames, 24, 24.0, 3)
    assert (info.schedule, info.align_corners, info.text_encoder) == (schedule, False, "words")
    assert (info.prediction, info.thresholding, info.training) == ("eps", own["thresholding"], {"steps": 3})
    defaults = SamplingOptions(steps=50, guidance=2.5, sampler="dpmpp_2m", scheduler="normal", window=7)
    assert info.sampling == defaults and info.config["in_channels"] == 6
    assert tensors.keys() == build_network(stage, None).state_dict().keys()


def unpadded(t5, batch) -> list[torch.Tensor]:
    """What an encoder makes of each caption without any padding after it."""
    with torch.no_grad():
        return [
            t5(input_ids=ids[None, : int(mask.sum())]).last_hidden_state[0]
            for ids, mask in zip(batch["ids"], batch["mask"], strict=True)
        ]


def test_padding_is_not_read_by_the_words_that_a_network_hears():
    objective, batch = diffusion_objective(), training_batch()
    heard = ask(objective, batch)[1].text
    assert heard.shape == (2, MAX_TOKENS, 16)
    for caption, alone in zip(heard, unpadded(objective.t5, batch), strict=True):
        torch.testing.assert_close(caption[: len(alone)], alone)


def text_objective() -> tuple[TextObjective, dict]:
    torch.manual_seed(0)
    stage = Stage("words", "text", (Phase(1, 2),), {**T5, "max_tokens": MAX_TOKENS}, learning_rate=1e-3)
    objective = TextObjective(stage, {"color": ("red", "blue", "green"), "count": ("one", "two")})
    objective.eval()
    labels = {"labels": torch.tensor([[0, 0], [1, 1]]), "token": torch.tensor([2, 5])}
    return objective, training_batch() | labels


def test_padding_is_not_read_by_the_words_that_a_text_encoder_learns():
    objective, batch = text_objective()
    seen = []
    objective.t5.register_forward_hook(lambda module, given, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        objective(batch)
        objective.accuracy(batch)
    learned = seen[:2]
    for text in learned:
        for caption, alone in zip(text, unpadded(objective.t5, batch), strict=True):
            torch.testing.assert_close(caption[: len(alone)], alone)


@torch.no_grad()
def test_the_text_loss_reads_every_label_off_the_mean_and_off_one_token():
    objective, batch = text_objective()
    text = objective.t5(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
    expected = 0.0
    for caption, labels, token in zip(text, batch["labels"], batch["token"], strict=True):
        for features in (caption.mean(0), caption[token]):
            for head, label in zip(objective.heads.values(), labels, strict=True):
                expected -= head(features).log_softmax(0)[label] / 2 / len(text)  # two heads
    torch.testing.assert_close(objective(batch), expected)


@torch.no_grad()
def test_accuracy_is_the_share_of_captions_that_are_read_rightly():
    objective, batch = text_objective()
    mean = objective.t5(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state.mean(1)
    read = {name: head(mean).argmax(1) for name, head in objective.heads.items()}
    right = torch.stack([read["color"], 1 - read["count"]], dim=1)
    assert objective.accuracy(batch | {"labels": right}) == {"color": 1.0, "count": 0.0}
    right[0, 1] = read["count"][0]
    assert objective.accuracy(batch | {"labels": right}) == {"color": 1.0, "count": 0.5}


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_what_is_known_is_heard_by_new_columns_alone(patch):
    """A patch's pixels are columns of their own: those of the noisy clip, which come first, stay as they are."""
    options = {"learning_rate": 1e-3, "size": 12}
    still = build_network(Stage("a", "t2i", (Phase(1, 2),), {**NETWORK, "patch": patch}, **options), None)
    temporal = {"attention_head_dim": 8, "embedding_dim": 16}
    stage = Stage("b", "base", (Phase(1, 2, 3),), temporal, start="a", tasks={"extend": 1}, **options)
    network = build_network(stage, still)
    DiffusionObjective(stage, network, build_text_encoder(T5, MAX_TOKENS), "text", 16.0)
    weight = network.conv_in.parametrizations.weight
    assert weight.original0.shape[1] == 3 * patch**2 and weight.original1.shape[1] == 4 * patch**2
    assert not weight.original0.requires_grad and weight.original1.requires_grad
