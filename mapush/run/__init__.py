"""What a run is and leaves behind: its folder, checkpoints, log, failure bundle and memory needs."""
