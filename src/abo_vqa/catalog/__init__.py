"""Archives in, sampled products out."""
