"""All prompts about an image, or about several, and their options as a tree over one key-value cache."""
