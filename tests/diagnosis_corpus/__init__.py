"""Programs with known answers, right and wrong, on which the diagnosis is measured; `python -m diagnosis_corpus`."""

from diagnosis_corpus import backprop, functions, iterations, updates
from diagnosis_corpus.case import Case

CASES: dict[str, Case] = {c.name: c for part in (backprop, functions, updates, iterations) for c in part.cases()}
