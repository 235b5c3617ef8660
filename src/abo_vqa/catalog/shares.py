"""Whole numbers that follow given shares and add up exactly."""

from collections.abc import Sequence


def allocate(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` by `shares` (sum 1) with the largest-remainder method; ties go to the earlier share."""
    # Rounded first: 0.7 * 10 is 6.999..., and its floor would lose a whole one.
    exact = [round(total * share, 9) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: (counts[index] - exact[index], index))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
