"""The gallery says when it is stale, and is not; its figures fit the narrowest column."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from rebel_bench import registry
from rebel_bench.cli import main
from rebel_bench.errors import UserError
from rebel_bench.reporting import gallery
from rebel_bench.style import figure

FOLDER = Path(__file__).parents[2] / "figures"
MAKE = FOLDER / "make.py"

# ------------------------------------------------------------------------------------ the gallery in the repository

filled = pytest.mark.skipif(
    not (FOLDER / gallery.MANIFEST).exists(),
    reason=f"the gallery has not been filled yet: {gallery.MEASURE.format(ids='', scale='paper')}",
)


@filled
def test_the_gallery_is_not_stale():
    faults = gallery.faults(FOLDER, registry.find_all())
    assert faults == [], "\n".join(faults)


@filled
def test_the_gallery_has_the_paper_scale_and_no_other_files():
    manifest = gallery.read(FOLDER)
    assert {entry["scale"] for entry in manifest["figures"].values()} == {"paper"}
    known = {"make.py", "README.md", gallery.MANIFEST}
    known |= {name for entry in manifest["figures"].values() for name in (*entry["data"], *entry["drawings"])}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == known
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15e6


def half_columns():
    """Claims with one panel: those that must fit into half the width of a page."""
    there = gallery.read(FOLDER)["figures"] if (FOLDER / gallery.MANIFEST).exists() else {}
    return [claim for claim in registry.find_claims() if claim.panels == (1, 1) and claim.id in there]


@pytest.mark.parametrize("claim", half_columns(), ids=lambda claim: claim.id)
@pytest.mark.parametrize("venue", ["icml", "aaai"])
def test_nothing_is_clipped_in_half_a_column(claim, venue):
    cases = [pd.read_parquet(FOLDER / f"{claim.id}.{part}.parquet") for part in gallery.PARTS]
    with figure(venue, claim.panels) as fig:
        claim.figure(fig, *cases)
        assert clipped(fig) == []


def clipped(fig):
    """The words that reach over the edge of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    outside = []
    for ax in fig.axes:
        words = [ax.xaxis.label, ax.yaxis.label, ax.title, *ax.texts]
        words += ax.get_legend().get_texts() if ax.get_legend() else []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            words += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        for text in words:
            assert isinstance(text, Text)
            box = text.get_window_extent(canvas.get_renderer())
            over = box.x0 < -1 or box.y0 < -1 or box.x1 > fig.bbox.width + 1 or box.y1 > fig.bbox.height + 1
            outside += [text.get_text()] if over and text.get_text().strip() else []
    return outside


def test_what_is_clipped_is_noticed():
    with figure("icml") as fig:
        ax = fig.add_subplot()
        ax.set(xlabel="updates", ylabel="gap")
        assert clipped(fig) == []
        ax.set_ylabel("a label much longer than half a column of this venue is high, and so cut off")
        assert clipped(fig) == [ax.get_ylabel()]


# --------------------------------------------------------------------------------------------- a gallery of toys


@pytest.fixture
def make(toys, tmp_path, monkeypatch, capsys):
    """Run ``figures/make.py`` on the toys; return its exit code and what it said."""

    def run(*arguments):
        command = [str(MAKE), "--out", str(tmp_path / "figures"), "--claims", str(toys), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(MAKE), run_name="__main__")
        return stop.value.code, "".join(capsys.readouterr())

    return run


@pytest.fixture
def filled_with_toys(toys, tmp_path, make, capsys):
    """A gallery of E1, C2 and C11; its folder, and a function that lists its faults."""
    verify(toys, tmp_path)
    capsys.readouterr()
    assert make("--from", tmp_path / "out") == (0, "drawn: E1, C2, C11\n")
    folder = tmp_path / "figures"
    return folder, lambda: gallery.faults(folder, registry.find_all(toys))


def verify(toys, tmp_path, *ids):
    arguments = ["--claims", str(toys), "--out", str(tmp_path / "out"), "--scale", "paper", "--no-figures"]
    assert main(["verify", *ids, *arguments]) == 0


def edit(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_gallery_keeps_what_made_it(filled_with_toys):
    folder, faults = filled_with_toys
    assert faults() == []
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"].startswith("rebel-theory verify --scale paper --out DIR && python figures/make.py")
    assert list(manifest["figures"]) == ["E1", "C2", "C11"]
    entry = manifest["figures"]["C2"]
    assert (entry["scale"], entry["seed"], entry["verdict"], entry["control"]) == ("paper", 0, "holds", "refuted")
    assert {"version", "libraries", "code"} <= set(entry)
    assert set(entry["data"]) == {"C2.check.parquet", "C2.control.parquet"}
    assert set(entry["drawings"]) == {"C2.pdf", "C2.png"}
    assert len(pd.read_parquet(folder / "C2.check.parquet")) == 20
    assert "![C11: toy [s=1, a=0]](C11.png)" in (folder / "README.md").read_text(encoding="utf-8")


def test_words_do_not_make_it_stale(filled_with_toys, toys):
    _, faults = filled_with_toys
    edit(toys / "c2.py", "def cases(", "# a comment\ndef cases(")
    edit(toys / "c2.py", "a statement with", "another statement with")
    edit(toys / "c2.py", "    ax = fig.add_subplot()\n", '    """Draw."""\n    ax = fig.add_subplot()\n')
    assert faults() == []


def test_a_change_of_what_measures_asks_for_a_measurement(filled_with_toys, toys, tmp_path, make, capsys):
    _, faults = filled_with_toys
    edit(toys / "c2.py", "0.5 * rng.random(n)", "0.4 * rng.random(n)")
    [fault] = faults()
    assert fault.startswith("C2: measured by code that has changed since; mend it with `rebel-theory verify C2 --scale")
    code, said = make("--from", tmp_path / "out")
    assert code == 2
    assert "C2: measured by other code or libraries" in said
    verify(toys, tmp_path, "C2")
    capsys.readouterr()
    assert make("--from", tmp_path / "out")[0] == 0
    assert faults() == []


def test_a_change_of_what_draws_asks_for_a_drawing_only(filled_with_toys, toys, make):
    folder, faults = filled_with_toys
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    edit(toys / "c2.py", 'ylabel="gap"', 'ylabel="GAP"')
    [fault] = faults()
    assert fault.startswith("C2: drawn by code that has changed since")
    assert fault.endswith("mend it with `python figures/make.py`")
    assert make() == (0, "drawn: C2\n")
    assert faults() == []
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"C2.pdf", "C2.png", "manifest.json"}


@pytest.mark.parametrize("name", ["C11.pdf", "C11.png"])
def test_another_drawing_is_noticed_and_replaced(filled_with_toys, name, make):
    folder, faults = filled_with_toys
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(before + b" ")
    assert faults()[0].startswith("C11: drawn by code")
    assert make() == (0, "drawn: C11\n")
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")])
def test_other_data_are_noticed_and_not_drawn(filled_with_toys, spoil, make):
    folder, faults = filled_with_toys
    spoil(folder / "C11.control.parquet")
    [fault] = faults()
    assert fault.startswith("C11: the data are not those of the manifest; mend it with `rebel-theory verify C11")
    code, said = make()
    assert code == 2
    assert "the data of C11 are damaged or missing" in said


def test_claims_come_and_go(filled_with_toys, toys, toy, tmp_path, make, capsys):
    folder, faults = filled_with_toys
    toy(toys, "P9")
    toy(toys, "S9", figure="None")
    (toys / "e1.py").unlink()
    missing, gone = faults()
    assert missing.startswith("P9: no figure; mend it with `rebel-theory verify P9 --scale paper")
    assert gone == "E1: the claim or its figure is gone; mend it with `python figures/make.py`"
    verify(toys, tmp_path, "P9,S9")
    capsys.readouterr()
    assert make("--from", tmp_path / "out")[0] == 0
    assert faults() == []
    assert not list(folder.glob("E1*"))
    assert (folder / "C2.png").exists()


def test_results_of_older_code_are_taken_only_when_asked(filled_with_toys, toys, tmp_path, make):
    edit(toys / "c2.py", "0.5 * rng.random(n)", "0.4 * rng.random(n)")
    assert make("--from", tmp_path / "out", "--older")[0] == 0


def test_no_gallery_at_all(tmp_path, toys):
    with pytest.raises(UserError, match=r"no gallery in .*rebel-theory verify --scale paper"):
        gallery.faults(tmp_path / "none", registry.find_all(toys))
