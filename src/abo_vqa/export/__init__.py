"""A trained model for other software: merged into its base as a normal folder, or its adapter alone."""
