"""Every diagnosis that a test asks for is watched: no finding may come without the lines that reproduce it."""

import functools

import pytest

from jaxnum import Diagnosis, diagnose


@pytest.fixture(autouse=True)
def every_finding_has_its_lines(monkeypatch):
    bare = []

    def watched(verb):
        @functools.wraps(verb)
        def ask(*args, **kwargs):
            found = verb(*args, **kwargs)
            if isinstance(found, Diagnosis):
                bare.extend(f.code for f in found.findings if "\n" not in f.reproduce or " # " not in f.reproduce)
            return found

        return ask

    for name in diagnose.__all__:
        if name[0].islower():
            monkeypatch.setattr(diagnose, name, watched(getattr(diagnose, name)))
    yield
    assert not bare, f"without lines: {bare}"
