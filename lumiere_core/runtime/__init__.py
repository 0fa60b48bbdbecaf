"""Where a run takes place: devices, memory, progress, files that are whole or not there."""
