import numpy as np
import pytest

from jaxnum import History, Solution, Status
from jaxnum.plot import canvas
from jaxnum.plot import schrodinger as draw
from jaxnum.schrodinger import Grid, exact

GRID = Grid(-10.0, 10.0, 101)
X, T = np.asarray(GRID.x), np.linspace(0.0, 2.0, 5)
PSI = np.stack([np.asarray(exact.free_packet(X, t, momentum=1.0, sigma=0.8)) for t in T])
WIDTHS = 0.8 * np.sqrt(1 + (T / (2 * 0.64)) ** 2)
RUN = Solution(PSI[-1], History(t=T, psi=PSI, position=T, width=WIDTHS), 0.0, 4, Status.ok)


def test_packet_shows_the_size_of_psi_with_center_and_width():
    ax = canvas.figure()[1]
    image = draw.packet(RUN, GRID, ax=ax)
    np.testing.assert_allclose(image.get_array(), np.abs(PSI))
    center, left, right = ax.lines
    np.testing.assert_array_equal(center.get_xdata(), T)
    np.testing.assert_allclose(left.get_xdata(), T - WIDTHS)
    np.testing.assert_allclose(right.get_xdata(), T + WIDTHS)
    low, high = ax.get_xlim()
    assert -10 <= low < -2
    assert 4 < high <= 10
    assert draw.packet(RUN, GRID, ax=canvas.figure()[1], window=(-1.0, 1.0)).axes.get_xlim() == (-1.0, 1.0)


def test_phase_is_the_color_and_size_the_shape():
    psi = PSI[2]
    cells = draw.phase_packet(psi, X, ax=canvas.figure()[1], window=(-10.0, 10.0), title="t = 1")
    np.testing.assert_allclose(cells.get_array(), np.angle((psi[1:] + psi[:-1]) / 2))
    top = np.array([path.vertices[:, 1].max() for path in cells.get_paths()])
    np.testing.assert_allclose(top, np.maximum(np.abs(psi[1:]), np.abs(psi[:-1])))
    assert cells.axes.get_title(loc="left") == "t = 1" or cells.axes.get_title() == "t = 1"


def test_strip_has_one_pair_of_axes_per_time():
    figure = draw.phase_strip(PSI[::2], T[::2], X, title="spreading")
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert [t for t in titles if t.startswith("t = ")] == ["t = 0", "t = 1", "t = 2"]


def test_animation_follows_the_rows_and_is_saved(tmp_path):
    animation = draw.animate_packet(RUN, GRID, potential=X**2 / 50, window=(-8.0, 8.0))
    lines = animation._func(3)
    np.testing.assert_array_equal(lines[0].get_ydata(), PSI[3].real)
    np.testing.assert_array_equal(lines[1].get_ydata(), PSI[3].imag)
    np.testing.assert_array_equal(lines[2].get_ydata(), np.abs(PSI[3]))
    assert lines[-1].get_text() == "t = 1.5"
    path = draw.save_animation(animation, tmp_path / "packet.gif", dots_per_inch=20)
    assert path.read_bytes()[:6] in (b"GIF87a", b"GIF89a")
    page = draw.save_animation(draw.animate_packet(RUN, GRID), tmp_path / "packet.html", dots_per_inch=20)
    assert "<img" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.packet(PSI, GRID), "`solution` must be what `propagate` returned"),
        (lambda: draw.packet(RUN, X), "`grid` must be a `Grid"),
        (lambda: draw.packet(RUN, Grid(-1.0, 1.0, 9)), "`grid` must have 101 points"),
        (lambda: draw.phase_packet(PSI, X), "`psi` must have shape"),
        (lambda: draw.animate_packet(RUN, GRID, potential=X[:3]), "`potential` must have shape"),
        (lambda: draw.animate_packet(RUN, GRID, frames_per_second=0.0), "`frames_per_second` must be"),
        (lambda: draw.save_animation("film", "a.gif"), "`animation` must be an animation"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_ending_is_refused(tmp_path):
    animation = draw.animate_packet(RUN, GRID)
    with pytest.raises(ValueError, match=r"`path` must end in .gif"):
        draw.save_animation(animation, tmp_path / "packet.mp4")
    animation._draw_was_started = True  # nobody will show it
