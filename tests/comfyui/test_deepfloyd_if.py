"""DeepFloyd IF's text and steps in ComfyUI, in small; see if_checks.py."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.comfyui

ROOT = Path(__file__).parents[2]
LENGTHS = {"ltxv": 128, "mochi": 256}


@pytest.fixture(scope="module")
def checks(comfyui_paths, tmp_path_factory):
    folder, python = comfyui_paths
    packages = tmp_path_factory.mktemp("packages")
    (packages / "lumiere_video").symlink_to(ROOT)
    command = [python, Path(__file__).with_name("if_checks.py"), folder, packages, tmp_path_factory.mktemp("models")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=packages)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", LENGTHS)
def test_core_s_t5_says_what_if_heard(checks, kind, say):
    """Text Encode of any text; core's own, cut by the model, of those that are not too long."""
    empty, usual, long = checks["texts"][kind]
    say(f"{kind}: {checks['texts'][kind]}")
    assert empty[0] == usual[0] == LENGTHS[kind] <= long[0]
    assert max(empty[1:] + usual[1:] + long[1:2]) <= 1e-4
    assert long[2] > 1e-2


def test_a_clip_is_that_of_the_library(checks, say):
    say(f"at most apart: {checks['clips']}")
    assert max(checks["clips"].values()) <= 1e-3
