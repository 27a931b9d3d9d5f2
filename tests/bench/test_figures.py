"""Figures: drawn from stored cases, at the venue's size, whole, and the same bytes every time."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pandas as pd
import pytest

from rebel_bench import style
from rebel_bench.cli import main
from rebel_bench.errors import UserError
from rebel_bench.registry import find_claims
from rebel_bench.render import render


@pytest.fixture
def results(toys, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["verify", "C2", "E1", "--claims", str(toys), "--out", str(out), "--no-figures"]) == 0
    capsys.readouterr()
    return out


def png_size(path):
    """Width and height from the header of a PNG file."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_figures_are_drawn_in_one_thread(tmp_path):
    def draw(fig, cases, control_cases):
        threads.append(numba.get_num_threads())

    threads, claim, none = [], next(iter(find_claims())), pd.DataFrame()
    before = numba.get_num_threads()
    render(dataclasses.replace(claim, figure=draw), none, none, tmp_path)
    assert threads == [1]
    assert numba.get_num_threads() == before


def test_verify_draws(toys, tmp_path, capsys):
    assert main(["verify", "C2", "--claims", str(toys), "--out", str(tmp_path / "out")]) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert names == ["C2.pdf", "C2.png"]


def test_figures_come_from_stored_results_only(results, toys, toy, tmp_path, capsys):
    toy(toys, "C2", check="1 / 0", control="1 / 0")  # measuring again would fail
    arguments = ["figures", "--claims", str(toys), "--from", str(results), "--venue", "icml"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    captured = capsys.readouterr()
    assert "note: C2: measured by other code" in captured.err
    printed = captured.out.split()
    assert [name.rsplit("/", 1)[1] for name in printed] == ["E1.png", "E1.pdf", "C2.png", "C2.pdf"]
    width, _ = png_size(tmp_path / "a" / "C2.png")
    assert width == int(3.25 * 300)  # one column of ICML at 300 dots an inch
    pdf = (tmp_path / "a" / "C2.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # embedded TrueType
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    for name in ("C2.png", "C2.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["C11"], "no results of C11 are stored"),
        (["--scale", "full"], "no results are stored at scale full"),
        (["--seed", "4"], "no results are stored with seed 4"),
        (["C77"], "unknown claim 'C77'"),
    ],
)
def test_what_is_not_stored_is_said(results, toys, capsys, arguments, message):
    assert main(["figures", *arguments, "--claims", str(toys), "--from", str(results)]) == 2
    error = capsys.readouterr().err
    assert message in error


def test_nothing_stored_at_all(tmp_path, capsys):
    assert main(["figures", "--from", str(tmp_path / "none")]) == 2
    assert "run `rebel-theory verify" in capsys.readouterr().err


def test_a_run_without_its_control_is_not_drawn(results, toys, capsys):
    [file] = (results / "units").glob("C2-control-*.parquet")
    file.unlink()
    assert main(["figures", "C2", "--claims", str(toys), "--from", str(results)]) == 2
    assert "no results of C2" in capsys.readouterr().err


def test_the_largest_scale_and_smallest_seed_are_drawn(toys, tmp_path, monkeypatch, capsys):
    from rebel_bench.store import Store

    out = str(tmp_path / "out")
    for scale, seed in (("paper", "7"), ("paper", "2"), ("quick", "0")):
        main(
            [
                "verify",
                "C2",
                "--claims",
                str(toys),
                "--out",
                out,
                "--scale",
                scale,
                "--seed",
                seed,
                "--no-figures",
            ]
        )
    read = []
    original = Store.read
    monkeypatch.setattr(Store, "read", lambda self, spec: (read.append(spec), original(self, spec))[1])
    assert main(["figures", "--claims", str(toys), "--from", out]) == 0
    assert {(key.scale.value, key.seed) for key in read} == {("paper", 2)}


def test_a_claim_without_a_figure(toys, toy, tmp_path, capsys):
    toy(toys, "C5", figure="None")
    out = str(tmp_path / "out")
    assert main(["verify", "C5", "--claims", str(toys), "--out", out]) == 0
    assert main(["figures", "--claims", str(toys), "--from", out]) == 0
    assert main(["figures", "C5", "--claims", str(toys), "--from", out]) == 2
    assert "C5: no figure is defined" in capsys.readouterr().err


def test_a_figure_that_raises_comes_after_the_verdicts(toys, toy, tmp_path, capsys):
    toy(toys, "C5", figure="lambda fig, cases, control: 1 / 0")
    assert main(["verify", "C5", "--claims", str(toys), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert "1 of 1 claims hold" in out
    assert "C5 (figure)" in err
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize("venue", list(style._BUNDLES))
def test_every_venue_has_a_size_and_a_font_that_is_here(venue):
    from matplotlib import font_manager

    rc = style.settings(venue)
    assert 3 < rc["figure.figsize"][0] < 7
    assert rc["text.usetex"] is False
    assert rc["pdf.fonttype"] == 42
    assert rc["font.serif"][-1] == "STIXGeneral"
    assert set(rc["font.serif"]) <= set(font_manager.get_font_names())


def test_panels_side_by_side_take_both_columns():
    one, two = style.settings("icml")["figure.figsize"], style.settings("icml", (1, 2))["figure.figsize"]
    assert (one[0], two[0]) == (3.25, 6.75)


def test_an_unknown_venue():
    with pytest.raises(UserError, match="expected one of neurips"):
        style.settings("nature")


def test_no_pyplot_and_no_settings_left_behind(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.figure("jmlr") as fig:
        fig.add_subplot().plot([1, 2], [1, 2], **style.line("REBEL"))
        style.save(fig, tmp_path / "a.b")
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.pdf", "a.b.png"]


def test_coinciding_algorithms_are_all_visible():
    """REBEL, NPG and MD on one curve: each of the three colours covers part of the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb

    with style.figure() as fig:
        ax = fig.add_subplot()
        for name in ("REBEL", "NPG", "MD"):
            ax.plot(np.arange(100), np.arange(100), **style.line(name))
        ax.set_axis_off()
        fig.set_dpi(300)  # what is saved
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(float) / 255
    for name in ("REBEL", "NPG", "MD"):
        near = np.abs(pixels - to_rgb(style.line(name)["color"])).max(axis=-1) < 0.02
        assert near.sum() > 1000, name


def luminance(colour):
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_the_algorithms_differ_in_greyscale():
    light = sorted(luminance(style.line(name)["color"]) for name in ("REBEL", "NPG", "MD"))
    assert min(np.diff(light)) > 0.15


def test_other_series_differ_from_each_other():
    seen = {(s["color"], str(s["linestyle"]), s["marker"]) for s in (style.line("x", i) for i in range(280))}
    assert len(seen) == 280
