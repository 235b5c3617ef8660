"""Stage parameters: params.yaml is checked before anything else."""
