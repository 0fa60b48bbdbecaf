"""`lumiere run`: executes workflow files with the pack's nodes where no ComfyUI is."""
