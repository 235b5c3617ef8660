"""Drawing the demo catalog and pre-training the demo's base model."""
