"""Every program of the corpus gets the verdict it deserves, but for those that are listed."""

import pytest

from diagnosis_corpus import CASES

# What is known to fall short, and what is said instead of the cause. Rates are counted with these as failures.
MISSED: dict[str, str] = {"training_step/factorization, one error for both": "unknown-cause"}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_the_one_deserved(name):
    case = CASES[name]
    findings = case.diagnose().findings
    codes = [finding.code for finding in findings]
    assert all("  # " in finding.reproduce for finding in findings), codes
    first = codes[0] if codes else "-"
    if name in MISSED:
        assert first == MISSED[name], codes
    elif case.expected:
        assert first in case.expected, codes
    else:
        assert not codes, codes


def test_the_rates_are_those_asked_for():
    assert set(MISSED) <= set(CASES)
    for part in (CASES, {n: c for n, c in CASES.items() if c.held_out}):
        wrong = [n for n, c in part.items() if c.expected]
        right = [n for n, c in part.items() if not c.expected]
        assert sum(MISSED.get(n, "") != "-" for n in wrong) >= 0.99 * len(wrong)
        assert sum(n not in MISSED for n in wrong) >= 0.90 * len(wrong)
        assert sum(n in MISSED for n in right) <= 0.01 * len(right)
    assert len(CASES) >= 240
    assert sum(not c.expected for c in CASES.values()) >= 60
    assert 3 * sum(c.held_out for c in CASES.values()) >= len(CASES)
