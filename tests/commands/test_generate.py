"""`lumiere generate` hands everything that is said on the command line on to the pipeline."""

import pytest
import torch

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.pipeline import Clip, LumierePipeline


@pytest.fixture
def generated(tiny, tmp_path, monkeypatch):
    """Run `lumiere generate` without sampling anything: what the pipeline was asked for."""
    asked = {}

    def generate(pipeline, prompt, **options):
        asked.update(options, prompt=prompt)
        frames = torch.zeros(1, 8, 8, 3)
        return Clip(frames, frames, 16.0)

    monkeypatch.setattr(LumierePipeline, "generate", generate)

    def run(*words):
        command = ["generate", "a star", "--output", f"{tmp_path}/a.gif", "--device", "cpu", "--no-ssr"]
        assert cli.main([*command, "--checkpoint", str(tiny.base), *words]) == 0
        return asked

    return run


@pytest.mark.parametrize(
    ("words", "name", "value", "unsaid"),
    [
        (["--negative", "blurry"], "negative", "blurry", ""),
        (["--seed", "7"], "seed", 7, 0),
        (["--frames", "5"], "frames", 5, None),
        (["--size", "9x6"], "size", (6, 9), None),
        (["--size", " 9 X 6"], "size", (6, 9), None),
        (["--size", "9"], "size", (9, 9), None),
    ],
)
def test_the_pipeline_hears_what_is_said(generated, words, name, value, unsaid):
    assert generated()[name] == unsaid
    asked = generated(*words)
    assert (asked[name], asked["prompt"]) == (value, "a star")
