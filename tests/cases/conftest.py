"""Each file tells its story once: it names the case as `CASE`, and in `CONFIG` at what size."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def story(request):
    case, said = request.module.CASE, []
    story = case.run(request.module.CONFIG, lambda fraction, doing: said.append((fraction, doing)))
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(doing for _, doing in said)
    assert case.__name__.endswith(story.name)
    assert all(isinstance(a, np.ndarray) for a in story.arrays.values())
    return story


@pytest.fixture
def facts():
    """The one fact of a chapter whose name holds all the words."""

    def fact(chapter, *words):
        [value] = [v for k, v in chapter.facts.items() if all(w in k for w in words)]
        return float(value)

    return fact


@pytest.fixture
def pictures(story):
    """The first axes of every picture, drawn, by its name."""
    axes = {}
    for picture in (p for c in (story.symptom, story.diagnosis, story.cure) for p in c.pictures):
        assert picture.caption
        figure = picture.draw()
        figure.canvas.draw()
        axes[picture.name] = figure.axes[0]
    return axes
