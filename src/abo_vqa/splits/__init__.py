"""Train, validation and test splits, near duplicates kept together, and options matched to the text."""
