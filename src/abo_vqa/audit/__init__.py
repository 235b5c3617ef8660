"""Stage audit: the scores of text-only baselines, which never see the image."""
