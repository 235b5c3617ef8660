"""Stage sample: from ABO's archives to sampled products."""
