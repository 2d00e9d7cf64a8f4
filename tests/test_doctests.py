import doctest
import importlib
import pkgutil

import pytest

import jaxnum

MODULES = sorted(m.name for m in pkgutil.walk_packages(jaxnum.__path__, "jaxnum.") if "__main__" not in m.name)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testmod(module, optionflags=flags)
    assert failed == 0
