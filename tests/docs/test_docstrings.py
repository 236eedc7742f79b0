"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import arriero

FINDER = doctest.DocTestFinder(exclude_empty=True)
MODULES = sorted(module.name for module in pkgutil.walk_packages(arriero.__path__, "arriero."))


def examples() -> list[doctest.DocTest]:
    return [
        example
        for name in MODULES
        for example in FINDER.find(importlib.import_module(name))
        if example.examples and example.globs["__name__"] == name
    ]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_the_example_runs(example: doctest.DocTest) -> None:
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert tried
    assert not failed, "".join(said)
