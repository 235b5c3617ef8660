"""Code shared by all stages: parameters, files, seeds, errors, tracking. Every stage depends on all of it."""
