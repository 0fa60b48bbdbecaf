"""Checkpoints with mutated metadata are loaded and give a clip, or are refused in one line that names the file."""

import json
import random
import warnings
from time import monotonic

import pytest
import torch
from mutations import damage, mutate, quick_ones
from safetensors.torch import load_file, save_file

from lumiere_video.lumiere_core.checkpoints.format import METADATA_KEY, kind_to_list, load_info, load_stunet
from lumiere_video.lumiere_core.checkpoints.summary import describe_checkpoint
from lumiere_video.lumiere_core.conditioning.text import load_text_encoder
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.sampling import network_call, plan_sampling, sample_base, super_resolve

CASES, QUICK_CASES = 40, 10  # of each file
QUICK = SamplingOptions(steps=1, window=2, overlap=0, sampler="euler", scheduler="simple", tile_overlap=0)
CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", quick_ones(QUICK_CASES, CASES))
@pytest.mark.parametrize("kind", ["base", "conditional", "ssr", "text"])
def test_mutated_metadata(tiny, tmp_path, kind, seed):
    rng, path, begun = random.Random(f"{kind} {seed}"), tmp_path / "net.safetensors", monotonic()
    source = getattr(tiny, kind)
    metadata = json.loads(load_info(source).to_json())
    text = json.dumps(mutate(metadata, rng, rng.randint(1, 3)))
    text = text if seed % 4 else damage(text, rng).decode("utf-8", "replace")
    save_file(load_file(source), path, {METADATA_KEY: text})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = kind_to_list(path)
        try:
            describe_checkpoint(path)
            use(path, listed)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            assert str(path) in str(error) or listed is not None
    assert monotonic() - begun < 10


def use(path, kind: str) -> None:
    """What the file says it is, doing a little of what it is for."""
    if kind == "text":
        assert load_text_encoder(path).encode(["a star"]).isfinite().all()
        return
    info, network = load_stunet(path, ("base", "t2i", "ssr", "style"))
    plan = plan_sampling(info, 2, (8 * info.scale, 8 * info.scale), QUICK)
    text = torch.zeros(1, 4, network.config.text_dim)
    options = {"info": info, "plan": plan, "text": text, "negative": text, "seed": 1}
    options["network"] = network_call(network, CPU, torch.float32)
    with torch.inference_mode():
        if info.kind == "ssr":
            clip = super_resolve(low_res=torch.zeros(1, 3, 2, 8, 8), **options)
        else:
            clip = sample_base(**options)
    assert clip.shape == plan.shape and clip.isfinite().all() and clip.abs().max() <= 1
