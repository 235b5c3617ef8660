"""Code shared by all stages: parameters, files, seeds, errors, words, figures, tracking. Stages depend on all of it."""
