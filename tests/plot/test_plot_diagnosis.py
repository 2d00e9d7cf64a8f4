import itertools

import numpy as np
import pytest

from jaxnum import Diagnosis, Finding
from jaxnum.diagnose import Table
from jaxnum.plot import canvas
from jaxnum.plot.diagnosis import diagnosis


def found():
    finding = Finding("a-code", "It is wrong by $5 or " + "so " * 60 + ".", {"x": 1.0}, "Mend it.")
    table = Table("A table", ("n", "error"), ((8, 0.5), (16, np.nan)))
    return Diagnosis("a thing", (finding,), ("A note.",), (table,))


def test_everything_is_said_in_order_and_nothing_overlaps():
    paper, ax = canvas.figure(size=(8.0, 6.0))
    texts = diagnosis(found(), ax=ax)
    words = [t.get_text() for t in texts]
    order = [words.index(w) for w in ("a thing: 1 thing is wrong", "a-code", "Mend it.", "A note.", "A table")]
    assert order == sorted(order)
    paper.canvas.draw()  # a dollar sign is no mathematics
    boxes = [t.get_window_extent() for t in texts if t.get_text()]
    # Lines are as high as their largest letters; rows may touch, not cover each other.
    assert all(a.y0 >= b.y1 - 2 for a, b in itertools.pairwise(boxes))
    assert max(b.x1 for b in boxes) <= paper.bbox.x1


def test_a_good_diagnosis_is_short():
    _, ax = canvas.figure()
    [text] = diagnosis(Diagnosis("a thing"), ax=ax)
    assert text.get_text() == "a thing: nothing is wrong"
    without = diagnosis(found(), tables=False, ax=canvas.figure()[1])
    assert "A table" not in [t.get_text() for t in without]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="Argument `diagnosis`"):
        diagnosis("a text", ax=canvas.figure()[1])
