"""What a stage's training is of, <stage>.settings.json: so that it does not go on, unnoticed, with other settings.

Beside the stage's fields it holds digests of the contents that they name: weights, text encoder, pictures.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from ..runtime.outputs import atomic_path, clear_write_errors
from .files import start_file, text_file
from .recipe import Recipe, Stage
from .source import ClipSource

FORMAT = 1
CONTENTS = {
    "start": "the weights that it starts from are others",
    "text_encoder": "the text encoder is another one",
    "source": "the pictures or captions that it learns from are others",
}


class Settings(NamedTuple):
    """fields: what the recipe says, by name. contents: digests, by what they are of; those that are known."""

    fields: dict[str, Any]
    contents: dict[str, str]


def stage_fields(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """What the recipe says of the stage, as JSON has it: the order of weights counts, where things lie does not."""
    fields = {"seed": recipe.seed, **dataclasses.asdict(stage)}
    for name in ("name", "images", *(["start"] if stage.starts_from_file else [])):
        del fields[name]
    fields["validates"] = fields.pop("validate_every") is not None  # how often does not change what is learned
    for name in ("tasks", "motions"):
        fields[name] = list(fields[name].items())
    return json.loads(json.dumps(fields))


def stage_settings(recipe: Recipe, stage: Stage, folder: Path, source: ClipSource) -> Settings:
    """All of it, as far as what the stage starts from is there already."""
    files = {"start": start_file(stage, folder)}
    if stage.kind != "text":
        files["text_encoder"] = text_file(recipe, folder)
    contents = {name: digest_of(path) for name, path in files.items() if path is not None and path.exists()}
    return Settings(stage_fields(recipe, stage), {**contents, "source": source.digest()})


def digest_of(path: Path) -> str:
    """Of a file its bytes; of a folder, which may hold a text encoder of many gigabytes, the names and sizes in it."""
    found = hashlib.sha256()
    if path.is_dir():
        sizes = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*") if file.is_file())
        found.update(json.dumps(sizes).encode())
        return found.hexdigest()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def save_settings(file: Path, settings: Settings) -> None:
    with clear_write_errors(file), atomic_path(file) as path:
        path.write_text(json.dumps({"format": FORMAT, **settings._asdict()}, indent=1), encoding="utf-8")


def require_same(file: Path, settings: Settings, trained: Path, step: int | None) -> None:
    """Raise a ValueError that names what has changed since `trained` was written, the state of a stage after `step`
    steps, or, where that is None, its finished weights.

    Steps that were not done yet may change, and what only the finished file says. Without a settings file, as versions
    up to 0.3.0 left it, nothing is known and nothing refused.
    """
    if not file.is_file():
        return
    then, now = _load(file, step), settings._replace(fields=_done(settings.fields, step))
    # A field may change contents, too: the size that pictures are read at.
    changes = differences(then.fields, now.fields) or [
        what for name, what in CONTENTS.items() if _differ(name, then.contents, now.contents)
    ]
    if changes:
        raise ValueError(
            f"{trained}: the recipe has changed since this was trained: {'; '.join(changes)}. Set it back to go on, or "
            "delete the file to train the stage again."
        )


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between the fields of two stages, as one would say it. Fields that only one version of this pack has
    do not count.
    """
    then, now = _flat(then), _flat(now)
    names = [name for name in then | now if name.startswith(("network.", "info.")) or (name in then and name in now)]
    return [
        f"{name} was {json.dumps(then.get(name))} and is {json.dumps(now.get(name))}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _load(file: Path, step: int | None) -> Settings:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Settings(_done(dict(data["fields"]), step), dict(data["contents"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: it says what the stage's training is of, and cannot be read ({type(error).__name__}: {error}). "
            "Delete it if the recipe is still the same."
        ) from error


def _done(fields: dict[str, Any], step: int | None) -> dict[str, Any]:
    """The fields that decided the first `step` steps; None is all steps and the finished file."""
    if step is None:
        return fields
    info = {"prediction": fields["info"].get("prediction", "v")}  # the rest only the finished file says
    return fields | {"info": info, "phases": _done_phases(fields["phases"], step)}


def _done_phases(phases: list[dict], step: int) -> list[dict]:
    """Each with the steps that were done of it; equal neighbours as one."""
    done: list[dict] = []
    for phase in phases:
        steps = min(phase["steps"], step)
        step -= steps
        if done and done[-1] | {"steps": 0} == phase | {"steps": 0}:
            done[-1] = phase | {"steps": done[-1]["steps"] + steps}
        elif steps:
            done.append(phase | {"steps": steps})
    return done


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Every single value by a name that a message can use."""
    flat = {name: value for name, value in fields.items() if not isinstance(value, dict) and name != "phases"}
    for table in ("network", "info", "schedule"):
        flat |= {f"{table}.{name}": value for name, value in fields[table].items()}
    for number, phase in enumerate(fields["phases"], start=1):
        flat |= {f"{name} of phase {number}": value for name, value in phase.items()}
    return flat | {"the number of phases": len(fields["phases"])}


def _differ(name: str, then: dict[str, str], now: dict[str, str]) -> bool:
    return name in then and name in now and then[name] != now[name]
