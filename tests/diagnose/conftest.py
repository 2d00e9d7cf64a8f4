"""Every diagnosis that a test asks for is watched: no finding without lines that reproduce it, and they are run."""

import functools
import inspect

import pytest
from diagnose.reproduction import check

from jaxnum import Diagnosis, diagnose

VERBS = {name: getattr(diagnose, name) for name in diagnose.__all__ if name[0].islower()}
RUN = set()  # verbs and codes whose lines have been run: once is enough


@pytest.fixture(autouse=True)
def every_finding_has_its_lines(monkeypatch):
    asked = []

    def watched(name):
        @functools.wraps(VERBS[name])
        def ask(*args, **kwargs):
            found = VERBS[name](*args, **kwargs)
            if isinstance(found, Diagnosis):
                bare = [f.code for f in found.findings if "\n" not in f.reproduce or "  # " not in f.reproduce]
                assert not bare, f"{name} gives no lines for {bare}"
                asked.append((name, found, args, kwargs))
            return found

        return ask

    for name in VERBS:
        monkeypatch.setattr(diagnose, name, watched(name))
    yield
    for name, found, args, kwargs in asked:
        new = {(name, f.code) for f in found.findings} - RUN
        if new:
            RUN.update(new)
            given = inspect.signature(VERBS[name]).bind(*args, **kwargs)
            given.apply_defaults()
            check(found, only={code for _, code in new}, **given.arguments)
