"""Lumiere Video: ComfyUI's door to this pack. The library is `lumiere_core`, the command line is `cli`."""
