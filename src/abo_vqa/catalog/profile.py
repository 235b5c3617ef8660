"""The diversity of a set of products by fact, and the effect of each sampler rule on it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from abo_vqa.catalog.pool import Indices
from abo_vqa.catalog.sampler import Draw, Sampler

FACTS = ("product_type", "brand", "color", "material")
MOST_FREQUENT = 50  # values that a report lists by name


@dataclass(frozen=True)
class Distribution:
    """Counts of a fact's values. missing: number of products without the fact."""

    counts: Counter[str]
    missing: int

    @property
    def entropy(self) -> float:
        """Shannon entropy as a share of the largest possible: 1 if all values are equally frequent, 0 for just one."""
        counts = np.array(sorted(self.counts.values()), float)
        if len(counts) < 2:
            return 0.0
        shares = counts / counts.sum()
        return float(-(shares * np.log(shares)).sum() / math.log(len(counts)))

    @property
    def gini(self) -> float:
        """Gini coefficient of the values' frequencies: 0 if all are equally frequent, near 1 if one has nearly all."""
        counts = np.array(sorted(self.counts.values()), float)
        if not len(counts):
            return 0.0
        ranks = np.arange(1, len(counts) + 1)
        return float((2 * ranks - len(counts) - 1) @ counts / (len(counts) * counts.sum()))

    def share(self, value: str) -> float:
        """Return a value's share of all products, including those without the fact."""
        return self.counts[value] / max(1, self.counts.total() + self.missing)

    def most_frequent(self, number: int) -> list[str]:
        """Return the most frequent values, equally frequent ones in alphabetical order."""
        return sorted(self.counts, key=lambda value: (-self.counts[value], value))[:number]

    def report(self) -> dict[str, Any]:
        """Return the figures and the most frequent values by name."""
        return {
            "distinct": len(self.counts),
            "missing": self.missing,
            "entropy": round(self.entropy, 4),
            "gini": round(self.gini, 4),
            "most_frequent": {value: self.counts[value] for value in self.most_frequent(MOST_FREQUENT)},
        }


def distributions(facts: pa.Table) -> dict[str, Distribution]:
    """Count the values of every one of the FACTS."""
    found = {}
    for fact in FACTS:
        counts = Counter({each["values"]: each["counts"] for each in facts[fact].value_counts().to_pylist()})
        missing = counts.pop(None, 0)
        found[fact] = Distribution(counts, missing)
    return found


def concerned(sampler: Sampler, places: Indices) -> dict[str, int]:
    """Count the products that the sampler's rules target, and the distinct product types."""
    return {
        "amazonbasics": int(sampler.basics[places].sum()),
        "shoes": int(sampler.shoes[places].sum()),
        "colorless": int(sampler.colorless[places].sum()),
        "rare_types": int(sampler.rare[places].sum()),
        "distinct_types": len(np.unique(sampler.types[places])),
    }


def effects(sampler: Sampler, drawn: Draw) -> dict[str, Mapping[str, int]]:
    """Draw again without each rule under the same seed; return how many products each rule adds, by target.

    Images found unreadable stay out; images drawn only now count as readable.
    """
    unreadable = set(drawn.unreadable)
    with_all = concerned(sampler, np.array(list(drawn.stages)))
    found: dict[str, Mapping[str, int]] = {}
    for rule in sampler.rules:
        redrawn = sampler.draw(lambda place: place not in unreadable, without=(rule,))
        without = concerned(sampler, np.array(list(redrawn.stages)))
        found[rule] = {name: number - without[name] for name, number in with_all.items()}
    return found
