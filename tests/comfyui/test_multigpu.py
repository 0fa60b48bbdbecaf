"""Core's MultiGPU work units on our MODEL, as far as one CPU can tell; see multigpu_checks.py."""

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
    script = Path(__file__).with_name("multigpu_checks.py")
    command = [python, script, folder, packages, ROOT / "lumiere_core" / "weights"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=packages)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_clone_has_a_network_of_its_own_and_makes_the_same_clip(checks):
    assert checks["own_network"]
    assert max(checks["differences"]) < 1e-4


def test_each_device_evaluates_one_of_the_two_prompts(checks):
    assert checks["seen"] == [3, 3]


def test_the_ssr_node_says_that_it_runs_on_one_device(checks):
    alone, shared = checks["ssr"]
    assert alone == []
    assert len(shared) == 1 and "MultiGPU" in shared[0]
