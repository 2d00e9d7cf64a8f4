"""Run the corpus and print what was said of what.

    cd tests && python -m diagnosis_corpus [part of a name]

Detection: wrong programs with any finding. Right cause first: wrong programs whose first finding is the cause, or, for
mistakes that are in no library, says that the cause is unknown. False alarms: right programs with any finding.
"""

import sys
import time
from collections import Counter

import jax

from diagnosis_corpus import CASES


def main() -> None:
    """Run all cases whose name contains the first argument."""
    jax.config.update("jax_enable_x64", True)
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    said, start = {}, time.perf_counter()
    for name, case in CASES.items():
        if part in name:
            began = time.perf_counter()
            codes = [f.code for f in case.diagnose().findings]
            said[name] = codes[0] if codes else "-"
            if not _right(case, said[name]):
                print(
                    f"{name}: {', '.join(codes) or 'silence'}; expected {' or '.join(case.expected) or 'silence'}"
                    f" ({time.perf_counter() - began:.1f} s)",
                    flush=True,
                )
    print(f"\n{len(said)} programs in {time.perf_counter() - start:.0f} s")
    for title, held_out in (("all", None), ("rules were developed on", False), ("held out", True)):
        some = {n: c for n, c in said.items() if held_out is None or CASES[n].held_out == held_out}
        print(f"{title:24} {rates(some)}")
    print("\nconfusion: expected -> said first")
    table = Counter(((CASES[n].expected or ("-",))[0], code) for n, code in said.items())
    for (expected, code), count in sorted(table.items()):
        print(f"  {expected:28} {code:28} {count}")


def rates(said: dict[str, str]) -> str:
    """Return the rates in words."""
    wrong = [n for n in said if CASES[n].expected]
    right = [n for n in said if not CASES[n].expected]
    found = sum(said[n] != "-" for n in wrong)
    named = sum(_right(CASES[n], said[n]) for n in wrong)
    alarms = sum(said[n] != "-" for n in right)
    return f"detected {found}/{len(wrong)}, right cause first {named}/{len(wrong)}, false alarms {alarms}/{len(right)}"


def _right(case, first: str) -> bool:
    return first in case.expected if case.expected else first == "-"


if __name__ == "__main__":
    main()
