"""Code shared by all stages: parameters, files, seeds, errors, words, figures, tracking.

Every stage depends on all of it, in one line of dvc.yaml; so every stage imports all of it, these two from here.
"""

from abo_vqa.common import figures, words

__all__ = ["figures", "words"]
