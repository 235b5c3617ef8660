"""What a run will take on a machine, before anything is downloaded: memory, time, disk."""
