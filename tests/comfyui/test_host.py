"""The ComfyUI host in ComfyUI's interpreter, without a server; see host_checks.py."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.comfyui

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checks(comfyui_paths, tmp_path_factory):
    folder, python = comfyui_paths
    packages = tmp_path_factory.mktemp("packages")
    (packages / "lumiere_video").symlink_to(ROOT)
    checkpoint = ROOT / "lumiere_core" / "weights" / "toy-ssr.safetensors"
    script = Path(__file__).with_name("host_checks.py")
    command = [python, script, folder, packages, checkpoint]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=packages)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_checkpoints_load_where_memory_is_dynamic(checks):
    assert checks["dynamic_memory"] == [True, True]


def test_patches_that_the_ssr_cannot_honour_are_named(checks):
    assert checks["no_patch"] == checks["weights"] == []
    assert "sampler_cfg_function" in checks["cfg_function"][0] and "KSampler" in checks["cfg_function"][0]
    assert "wrapper apply_model" in checks["wrapper"][0]


def test_a_patched_compute_dtype_counts_from_the_first_run(checks):
    assert checks["compute_dtype"] == "torch.bfloat16"
