"""`lumiere run`: run a workflow without ComfyUI."""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

SUMMARY = "run a ComfyUI workflow of this pack's nodes, without ComfyUI"


def run(options: argparse.Namespace) -> None:
    if find_spec("comfy_api") is not None:  # nodes would take ComfyUI for their host, which is not running
        raise ValueError(
            "run: ComfyUI is found from here (installed, or in this folder), and nodes would count on it. Queue the "
            "workflow in ComfyUI, or use an environment and a folder without it."
        )
    from ..lumiere_core.runtime.ranks import joined
    from ..nodes.host.standalone.models import MEDIA, Settings
    from ..runner.run import list_settable, run_workflow

    settings = Settings(options.device, options.models, options.input or MEDIA, options.output)
    if options.list:
        print(list_settable(options.workflow, options.assignments, settings))
        return
    with joined(options.device) as ranks:
        settings = replace(settings, device=str(ranks.device), share=ranks.share, leads=ranks.is_first)
        for file in run_workflow(options.workflow, options.assignments, settings):
            print(file)


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("workflow", metavar="WORKFLOW.json", type=Path, help="as the canvas saves it, or in the API format")
    option("--set", action="append", default=[], dest="assignments", metavar="NODE.INPUT=VALUE", help="may be repeated")
    option("--list", action="store_true", help="only say what can be set")
    option("--input", type=Path, metavar="DIR", help="where LoadImage and LoadVideo look; default: the pack's media")
    option("--output", type=Path, default=Path("output"), metavar="DIR", help="default: output")
    option("--models", type=Path, metavar="DIR", help="a folder searched for checkpoints before the bundled ones")
    option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
