"""What every stage runs: parameters, files, seeds, errors, tracking. Every stage depends on all of it."""
