"""Running a model on every test question under every condition."""
