"""The model folder `lumiere`: models/lumiere, whatever extra_model_paths.yaml adds, and the bundled weights."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ....lumiere_core.checkpoints.bundled import WEIGHTS
from ....lumiere_core.checkpoints.format import UNTOLD, kind_to_list

FOLDER = "lumiere"
EXTENSIONS = {".safetensors"}


def register_model_folder() -> None:
    """Make the folder known to core; the user's files come before bundled ones of the same name."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    folder_paths.add_model_folder_path(FOLDER, str(WEIGHTS))
    paths = folder_paths.get_folder_paths(FOLDER)
    folder_paths.folder_names_and_paths[FOLDER] = (paths, EXTENSIONS)  # a new folder would list every kind of file


def checkpoint_names(kinds: tuple[str, ...]) -> list[str]:
    """Files to choose from: of these kinds, or of one that the file does not tell. What cannot be used is left out."""
    files = {name: folder_paths.get_full_path(FOLDER, name) for name in folder_paths.get_filename_list(FOLDER)}
    return [name for name, path in files.items() if path is not None and kind_to_list(path) in (*kinds, UNTOLD)]


def checkpoint_path(name: str) -> Path:
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        searched = ", ".join(folder_paths.get_folder_paths(FOLDER))
        raise ValueError(f"checkpoint {name!r} was not found; searched {searched}. Put the file into one of them.")
    return Path(path)


def input_file(name: str, of: str = "file") -> Path:
    """The input folder's file of that name, for an input `of`. Raises ValueError for one outside, or not there."""
    folder = Path(folder_paths.get_input_directory())
    path = Path(os.path.abspath(folder / name))
    inside = Path(os.path.abspath(folder)) in path.parents
    if not inside or not path.is_file():
        problem = "not there" if inside else "outside it"
        raise ValueError(f"{of} must be a file in the folder {folder}; got {name!r}, which is {problem}.")
    return path
