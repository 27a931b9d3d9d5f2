"""What long commands show on stderr: on a terminal a bar, elsewhere lines and no control characters."""

from __future__ import annotations

import pytest

from rebel_bench.adversary.command import _OnStderr as OfAttacks
from rebel_bench.adversary.records import Record
from rebel_bench.bars import StderrBar, with_bar
from rebel_bench.judge import Judgement
from rebel_bench.progress import OnStderr
from rebel_bench.scale import Scale
from rebel_bench.store import Spec

SPEC = Spec("C1", "check", Scale.QUICK, 0, 1, 3, "code", "libraries")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_terminal_shows_a_bar_that_goes_away(terminal, capsys):
    with StderrBar("[words]") as bar:
        assert bar.is_shown
        bar.move(total=4, completed=1)
        bar.line("a [line]")
        bar.restart(7, "others")
        bar.move(advance=2, description="more")
    out, err = capsys.readouterr()
    assert out == ""
    assert "a [line]" in err
    assert "more" in err
    assert "2/7" in err
    assert err.rstrip().endswith("\x1b[2K")  # the bar's line is wiped


def test_a_log_has_lines_alone(capsys):
    with StderrBar("words") as bar:
        assert not bar.is_shown
        bar.move(total=4, completed=1)
        bar.line("a line " * 40)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a line " * 40 + "\n")


def test_items_under_a_bar(terminal, capsys):
    assert list(with_bar("abc", "drawing")) == ["a", "b", "c"]
    err = capsys.readouterr().err
    assert "drawing" in err
    assert "3/3" in err


def test_a_bar_ends_with_the_error_that_ends_the_work(terminal, capsys):
    with pytest.raises(ZeroDivisionError):
        [1 / len(item[1:]) for item in with_bar("abc", "drawing")]
    with StderrBar("a second one may start"):
        pass


def test_units_in_a_log_and_on_a_terminal(capsys, monkeypatch):
    def tell():
        with OnStderr() as report:
            report.start(2)
            report.finished(SPEC, 1.25, None)
            report.finished(SPEC, 0.5, Judgement("holds", 0.5, 1.0, 3, 0))
            report.warn("[look]")
        return capsys.readouterr().err

    assert tell() == "[1/2] C1 check 2/3, 1.25 s\n[2/2] C1 check 2/3 holds, 0.50 s\nwarning: [look]\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    err = tell()
    assert "2/2" in err
    assert "1.25 s" not in err
    assert "warning: [look]" in err


def test_attacks_in_a_log(capsys):
    record = Record.__new__(Record)
    for name, value in {"ratio": 0.25, "verdict": "holds", "seconds": 2.0}.items():
        object.__setattr__(record, name, value)
    with OfAttacks() as report:
        report.begin("C3", 100)
        report.advance(50, 0.2)
        report.finished(record)
    assert capsys.readouterr().err == "C3: 0.2500 holds, 2.0 s\n"
