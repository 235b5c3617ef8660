"""Stage split: train, validation and test splits, with near duplicates together, and matched options."""
