import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum import Diagnosis, Finding
from jaxnum.diagnose.report import Table, show

EVIDENCE = {
    "nan": np.nan,
    "inf": -np.inf,
    "jax": jnp.asarray([1.5, jnp.inf]),
    "scalar": jnp.float32(2.5),
    "complex": 1 + 2j,
    "complex array": np.array([1j, np.nan]),
    "nested": {"a": [np.int64(3), (np.bool_(True), None)], 4: jnp.ones((2, 2))},
    "words": np.array(["a", "b"]),
    "object": object,
    "big": 10**30,
    "matrix": np.eye(2),
    "empty": np.zeros(0),
    "bool": jnp.asarray(True),
}


def diagnosis():
    finding = Finding("zero-padding", 'It takes <1> to "0.5".', EVIDENCE, "Reflect & smooth.")
    table = Table("Errors <b>", ("n", "error"), ((8, np.float64(0.123456)), (16, jnp.float32(np.nan)), ("sum", True)))
    return Diagnosis("a <filter>", (finding, Finding("shift", "It shifts.")), ("A note & more.",), (table,))


def test_ok_exactly_when_nothing_was_found():
    assert Diagnosis("x").ok
    assert Diagnosis("x", notes=("fine",)).ok
    assert not diagnosis().ok


def test_json_holds_everything_and_nothing_json_does_not_know():
    def never(name):
        raise AssertionError(name)

    found = json.loads(diagnosis().to_json(), parse_constant=never)  # NaN and Infinity are no JSON
    assert found["ok"] is False
    assert found["subject"] == "a <filter>"
    assert [f["code"] for f in found["findings"]] == ["zero-padding", "shift"]
    evidence = found["findings"][0]["evidence"]
    assert evidence["nan"] == "nan"
    assert evidence["inf"] == "-inf"
    assert evidence["jax"] == [1.5, "inf"]
    assert evidence["scalar"] == 2.5
    assert evidence["complex"] == {"real": 1.0, "imag": 2.0}
    assert evidence["complex array"][0] == {"real": 0.0, "imag": 1.0}
    assert evidence["nested"] == {"a": [3, [True, None]], "4": [[1.0, 1.0], [1.0, 1.0]]}
    assert evidence["words"] == ["a", "b"]
    assert evidence["big"] == 10**30
    assert evidence["matrix"] == [[1, 0], [0, 1]]
    assert evidence["empty"] == []
    assert evidence["bool"] is True
    assert isinstance(evidence["object"], str)
    assert found["tables"][0]["rows"] == [[8, 0.123456], [16, "nan"], ["sum", True]]
    assert found["notes"] == ["A note & more."]


def test_text_says_verdict_findings_cures_notes_and_tables():
    text = str(diagnosis())
    assert text.startswith("a <filter>: 2 things are wrong.\n  1. [zero-padding] It takes")
    for part in (
        "     Cure: Reflect & smooth.",
        "  2. [shift] It shifts.",
        "  - A note & more.",
        "  n    error",
        "0.1235",
    ):
        assert part in text, text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert str(Diagnosis("a gradient")) == "a gradient: nothing is wrong."
    assert "1 thing is wrong" in str(Diagnosis("x", (Finding("a", "b"),)))
    assert str(Finding("a", "It is.", {}, "Mend it.")) == "[a] It is. Cure: Mend it."


def test_html_is_escaped():
    page = diagnosis()._repr_html_()
    for raw in ("<filter>", "<1>", "Errors <b>", "& smooth"):
        assert raw not in page
    for part in (
        "&lt;filter&gt;",
        "<code>zero-padding</code>",
        "Reflect &amp; smooth",
        "<caption>Errors &lt;b&gt;",
        "0.1235",
    ):
        assert part in page, page


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (1, "1"),
        (np.int32(7), "7"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (0.123456, "0.1235"),
        (1e-12, "1e-12"),
        (jnp.float32(2.0), "2"),
        (np.nan, "nan"),
        ("word", "word"),
        (None, "None"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_a_cell_is_shown_to_four_digits(x, text):
    assert show(x) == text


def test_columns_of_a_table_line_up():
    lines = str(Table("T", ("a", "long head"), ((1, 2.0), ("wide cell", 3)))).splitlines()
    assert lines[0] == "T"
    assert lines[1].index("long head") == lines[3].index("2") == lines[4].index("3")
    assert set(lines[2]) == {"-", " "}


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        diagnosis().findings = ()
    with pytest.raises(AttributeError):
        diagnosis().findings[0].code = "x"
