"""What chance could do to all claims together."""

from __future__ import annotations

import json
import math
from itertools import permutations

import pytest

from rebel_bench.cli import main
from rebel_bench.judge import Judgement
from rebel_bench.ledger import holm, ledger


def judged(verdict, p_value=math.nan):
    return Judgement(verdict, 0.0, 1.0, 10, 0, p_value=p_value)


def test_holm_by_hand():
    # Holm (1979): 0.01 against 0.05/4, 0.013 against 0.05/3, 0.03 against 0.05/2: the first that fails ends it
    expected = {0.01: True, 0.013: True, 0.03: False, 0.04: False}  # 0.04 <= 0.05 alone
    for order in permutations(expected):
        assert holm(order, 0.05) == [expected[p] for p in order]
    assert holm([0.0125, 0.0125, 0.0125, 0.0125], 0.05) == [True] * 4
    assert holm([0.02, 0.02, 0.02, 0.02], 0.05) == [False] * 4
    assert holm([], 0.05) == []
    assert holm([0.0, math.nan], 0.05) == [True, False]


def test_rates_add_up_and_exact_claims_need_no_correction():
    found = ledger(
        [
            ("E1", 0.0, judged("refuted")),  # exact: it stands, whatever the others are
            ("E2", 0.0, judged("holds")),
            ("S1", 1e-2, judged("refuted", p_value=4e-4)),  # above 1e-3 / 3
            ("S2", 1e-6, judged("refuted")),  # no p-value: its rate is one
            ("S3", 0.0, judged("holds", p_value=0.5)),
            ("S4", 0.0, judged("inconclusive")),
        ],
        alpha=1e-3,
    )
    assert (found.stands, found.falls) == (("E1", "S1", "S2"), ())  # 1e-6 <= 1e-3 / 3, then 4e-4 <= 1e-3 / 2
    assert found.n_tests == 3
    assert found.false_alarm == pytest.approx(1e-2 + 1e-6, rel=1e-12)


def test_a_refutation_may_fall_in_the_company_of_others():
    alone = ledger([("S1", 1e-2, judged("refuted", 4e-4))], alpha=1e-3)
    assert (alone.stands, alone.falls) == (("S1",), ())
    others = [(f"S{i}", 1e-2, judged("holds", 0.5)) for i in (2, 3)]
    among = ledger([("S1", 1e-2, judged("refuted", 4e-4)), *others], alpha=1e-3)
    assert (among.stands, among.falls) == ((), ("S1",))
    assert ledger([("S1", 1e-2, judged("refuted"))], alpha=1e-3).falls == ("S1",)  # by its rate alone
    assert ledger([("S1", 1.0, judged("holds"))] * 3).false_alarm == 1


def test_the_ledger_is_printed_and_in_the_json(toys, toy, tmp_path, capsys):
    for id, check, rate in (("C3", "3.0", 0.01), ("C4", "3.0", 0), ("C2", "1.0", 0.002)):
        file = toy(toys, id, check=check)
        file.write_text(file.read_text().replace("figure=figure", f"false_alarm={rate}"))
    arguments = ["verify", "--claims", str(toys), "--out", str(tmp_path / "out"), "--no-figures"]
    assert main([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ledger"] == {
        "alpha": 1e-3,
        "method": "Holm",
        "false_alarm": pytest.approx(0.012),
        "n_tests": 2,
        "stands": ["C4"],
        "falls": ["C3"],
    }
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "chance alone would refute one of them with probability at most 0.012 (the sum" in out
    assert "Refuted at level 0.001 over all claims (Holm): C4\n" in out
    assert "Refuted, but not at level 0.001 over all claims (Holm): C3;" in out
    assert main([*arguments, "E1"]) == 0
    assert "Refuted" not in capsys.readouterr().out
