"""The report: one page that needs nothing else, tables, figures with their data; read from what is stored."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from rebel_bench import registry
from rebel_bench.cli import main
from rebel_bench.reporting import numbers, tables
from rebel_bench.reporting.mathematics import mathml

NASTY = "50% of <b>a_1</b> & 'b^2' {c} | #1 $d$ ~ \\\\ [s=1]"
LATEX = r"\frac{\ln n}{T} < \max_r 2"
VOID = {"meta", "link", "img", "br", "mspace"}


@pytest.fixture
def report(toys, toy, tmp_path, capsys):
    """The folder of a report on five claims: one with a formula and nasty words, one refuted, one without a figure."""
    file = toy(toys, "S3")
    text = file.read_text(encoding="utf-8").replace('title="toy [s=1, a=0]"', f'title="{NASTY}",\n    latex=r"{LATEX}"')
    text = text.replace("figure=figure,", 'figure=figure,\n    finding=lambda a, b: f"{len(a)} < {len(b) + 1} cases",')
    file.write_text(text, encoding="utf-8")
    toy(toys, "P1", check="9.0", figure="None")
    out = tmp_path / "out"
    assert main(["verify", "--claims", str(toys), "--out", str(out), "--no-figures"]) == 1
    assert main(["report", "--claims", str(toys), "--from", str(out), "--venue", "icml"]) == 0
    assert "4 of 5 claims hold with their control refuted; the others: P1." in capsys.readouterr().out
    return out / "report"


class Reader(HTMLParser):
    """Every tag closed in order, and what the page links to, shows and says."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.tags, self.words = [], [], [], [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.add(tag)
        self.ids += [about["id"]] if "id" in about else []
        self.links += [about[name] for name in ("href", "src") if name in about]
        self.images += [about] if tag == "img" else []
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_needs_nothing_else(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert not page.tags & {"script", "iframe", "object", "embed", "form", "b"}  # <b> is a title's, escaped
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1998/Math/MathML)", text)
    beside = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert [link for link in beside if not (report / link).is_file()] == []
    assert "claims.tex" in beside
    assert "figures/C2.csv" in beside
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {"E1", "C2", "C11", "S3", "P1"} <= set(page.ids)
    assert [image["alt"] for image in page.images if not image["alt"].startswith("Figure of claim")] == []
    assert len(page.images) == 4  # P1 has none
    assert len(text) < 1_000_000


def test_the_page_says_what_was_found(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    said = " ".join("".join(Reader(text).words).split())
    assert NASTY.replace("\\\\", "\\") in said
    assert "10 < 11 cases" in said  # the finding
    for words in ("nowhere", "too large", "Inequality: value <= bound", "0: the test is exact", "scale quick, seed 0"):
        assert words in said
    card = text[text.index('<article id="P1">') :]
    assert re.search(r'class="badge bad">refuted', card[:400])  # the claim
    assert 'class="badge good">refuted' in card  # its control
    assert "<math" in text
    assert text.index('id="E1"') < text.index('id="C2"') < text.index('id="C11"') < text.index('id="S3"')


def test_the_pictures_are_small_and_readable(report):
    from PIL import Image

    [data, *_] = re.findall(r"base64,([^\"]+)", (report / "index.html").read_text(encoding="utf-8"))
    raw = base64.b64decode(data)
    (report / "x.png").write_bytes(raw)
    with Image.open(report / "x.png") as picture:
        assert picture.width == 975  # a column of ICML at 300 dots an inch, below the limit
        assert picture.mode == "P"
    assert len(raw) < 60_000


def test_what_the_adversary_found(report, toys, capsys):
    from rebel_bench.adversary.records import Record, write
    from rebel_bench.adversary.search import Path as SearchPath

    out = report.parent
    (out / "attacks").mkdir()
    (out / "attacks" / "C2-small.json").write_text("{}", encoding="utf-8")
    found = Record(
        id="C2", label="small", space="bandits <= 3 arms", verdict="refuted", ratio=1.25, target=None, found_again=None,
        restarts=(1.25,), random=None, random_cases=None, dimension=3, budget=99, evaluations=98, seed=7, seconds=1.0,
        version="0", file="attacks/C2-small.json",
    )  # fmt: skip
    write(found, [SearchPath(evaluations=(98,), best=(1.25,), point=np.zeros(1))], out)
    assert main(["report", "--claims", str(toys), "--from", str(out), "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["claims"]}
    assert (rows["C2"]["tightness"], rows["C2"]["instances"]) == (1.25, "C2-small.json")
    assert (rows["E1"]["tightness"], rows["E1"]["instances"]) == (None, "")
    text = (report / "index.html").read_text(encoding="utf-8")
    assert "98 evaluations over bandits &lt;= 3 arms, seed 7. A counterexample." in text
    assert "attacks/C2-small.json" in Reader(text).links
    assert (report / "attacks" / "C2-small.json").read_text(encoding="utf-8") == "{}"
    (out / "attacks" / "C2-small.json").unlink()
    assert main(["report", "--claims", str(toys), "--from", str(out)]) == 2
    assert "attack the claim again" in capsys.readouterr().err


def test_older_results_are_shown_as_such(report, toys, toy, capsys):
    assert "Measured by other code" not in (report / "index.html").read_text(encoding="utf-8")
    toy(toys, "C2", check="1 / 0")  # measuring would fail
    assert main(["report", "C2", "--claims", str(toys), "--from", str(report.parent), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["current"] for row in found["claims"]] == [False]
    assert "libraries than the present: C2." in (report / "index.html").read_text(encoding="utf-8")


def test_the_same_results_give_the_same_files(report, toys):
    before = {path.name: path.read_bytes() for path in report.rglob("*.*")}
    assert main(["report", "--claims", str(toys), "--from", str(report.parent), "--venue", "icml"]) == 0
    assert {path.name: path.read_bytes() for path in report.rglob("*.*")} == before


def test_claims_csv(report):
    table = pd.read_csv(report / "claims.csv", index_col="id")
    assert list(table.index) == ["E1", "C2", "C11", "S3", "P1"]
    assert list(table["verdict"]) == ["holds"] * 4 + ["refuted"]
    assert table.loc["S3", "title"] == NASTY.replace("\\\\", "\\")
    assert table.loc["S3", "latex"] == LATEX
    assert table["n_cases"].tolist() == [10] * 5
    assert 0.5 < table.loc["C2", "measured"] <= 1 < table.loc["C2", "control_measured"]


def test_claims_tex_is_balanced_and_has_seven_columns(report):
    text = (report / "claims.tex").read_text(encoding="utf-8")
    bare = re.sub(r"\\[\\%&#_{}$]", "", re.sub(r"^%.*$", "", text, flags=re.MULTILINE))
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [("begin", "longtable"), ("end", "longtable")]
    assert not re.search(r"[%#~](?!.*usepackage)", bare.replace("~of", ""))
    body = text.split(r"\endlastfoot")[1].split(r"\end{longtable}")[0]
    rows = [line for line in body.splitlines() if line and line != r"\addlinespace"]
    assert len(rows) == 10  # two lines a claim
    for figures, statement in zip(rows[::2], rows[1::2], strict=True):
        assert len(re.findall(r"(?<!\\)&", figures)) == 6
        assert figures.endswith(r"\\*")
        assert statement.startswith(r" & \multicolumn{6}{")
        assert statement.endswith(r"\\")
    assert f"${LATEX}$" in body
    assert r"50\% of \textless{}b\textgreater{}a\_1" in body
    declared = re.search(r"begin\{longtable\}\{@\{\}(.*)@\{\}\}", text)[1]
    assert len(re.sub(r">\{[^}]*\}|p\{[^}]*\}", "p", declared).replace("pp", "p")) == 7


@pytest.mark.parametrize(
    ("venue", "width"), [("neurips", 5.5), ("icml", 3.25), ("jmlr", 6.0), ("colt", 6.0), ("rlc", 5.5)]
)
def test_figures_at_the_size_of_the_venue_with_their_fonts_and_data(report, toys, venue, width):
    out = report.parent / venue
    arguments = ["--claims", str(toys), "--from", str(report.parent), "--venue", venue, "--out", str(out)]
    assert main(["report", "C2", *arguments]) == 0
    pdf = (out / "figures" / "C2.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf)
    assert float(box[1]) == pytest.approx(72 * width)
    check_fonts(pdf)
    cases = pd.read_csv(out / "figures" / "C2.csv")
    assert cases["part"].tolist() == ["check"] * 10 + ["control"] * 10
    np.testing.assert_allclose(cases["bound"], 1 / cases["t"], rtol=1e-12)


def check_fonts(pdf):
    """Every font has its program in the file, and none is drawn by Type 3 procedures."""
    streams = [found[1] for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)]
    whole = pdf + b"".join(inflated(stream) for stream in streams)
    assert b"/Type3" not in whole
    described = whole.count(b"/FontDescriptor /") + whole.count(b"/Type /FontDescriptor")
    embedded = len(re.findall(rb"/FontFile[23]?\b", whole))
    assert embedded > 0
    assert embedded >= whole.count(b"/Type /FontDescriptor") > 0
    assert described >= embedded


def inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["C11", "--seed", "4"], "no results of C11 are stored with seed 4"),
        (["--scale", "full"], "no results are stored at scale full"),
        (["C77"], "unknown claim 'C77'"),
    ],
)
def test_what_is_not_stored_is_said_with_the_command_that_measures_it(report, toys, capsys, arguments, message):
    assert main(["report", *arguments, "--claims", str(toys), "--from", str(report.parent)]) == 2
    assert message in capsys.readouterr().err


def test_nothing_stored_at_all(tmp_path, capsys):
    assert main(["report", "--from", str(tmp_path / "none")]) == 2
    assert f"run `rebel-theory verify --out {tmp_path / 'none'}`" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_json_lists_the_files(report, toys, capsys):
    assert main(["report", "--claims", str(toys), "--from", str(report.parent), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in found["claims"]] == ["E1", "C2", "C11", "S3", "P1"]
    assert found["claims"][3]["finding"] == "10 < 11 cases"
    assert found["claims"][0]["p_value"] is None
    assert {path.rsplit("/", 1)[1] for path in found["files"]} >= {"index.html", "claims.tex", "C2.pdf", "C2.csv"}


# --------------------------------------------------------------------------------------------- mathematics, numbers


@pytest.mark.parametrize("claim", registry.find_claims(), ids=lambda claim: claim.id)
def test_every_formula_is_drawn(claim):
    if claim.latex:
        assert mathml(claim.latex).startswith("<math")
        assert r"{\rm" not in claim.latex  # not every class of LaTeX has it
    assert tables.escaped(claim.statement).isascii()


def test_a_formula_keeps_its_structure():
    found = mathml(r"\frac{\ln n}{T} \le 2")
    assert re.search(r"<mi>ln</mi><mspace[^>]*/><mi>n</mi>", found)
    assert found.count("<mfrac>") == 1
    assert re.search(r"<mfrac><mrow>.*</mrow><mrow>.*</mrow></mfrac>", found)  # still two children
    assert "<mspace" not in mathml(r"\ln(n)")
    assert re.search(r"<msub><m.>ln</m.><mn>2</mn></msub>", mathml(r"\ln_2 n"))  # a base and an index, nothing between


@pytest.mark.parametrize("broken", [r"\frac{1}", r"\nosuchcommand{x}", "{", "<script>", r"a & \text{<b>}"])
def test_a_formula_that_cannot_be_read_is_shown_as_written(broken):
    found = mathml(broken)
    assert "<script>" not in found
    assert "<b>" not in found
    assert found.startswith(("<code>", "<math"))


def test_numbers():
    nan, inf = float("nan"), float("inf")
    assert [numbers.plain(x) for x in (nan, 0.00012345)] == ["–", "0.0001234"]
    assert [numbers.html(x) for x in (-inf, nan, -2e-12, 3.0)] == ["−∞", "–", "−2&nbsp;×&nbsp;10<sup>−12</sup>", "3"]
    assert [numbers.tex(x) for x in (inf, nan, 2e-12)] == [r"$\infty$", "--", r"$2 \times 10^{-12}$"]


# ------------------------------------------------------------------------------------------------------- a browser


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on PATH")
def test_a_phone_shows_the_page_without_scrolling_sideways(report, tmp_path):
    frame = tmp_path / "frame.html"
    page = report / "index.html"
    frame.write_text(
        f'<iframe src="{page.as_uri()}" style="width:390px;height:800px;border:0"></iframe><p id="said"></p><script>'
        "onload = () => { const page = document.querySelector('iframe').contentDocument;"
        "document.getElementById('said').textContent = [page.documentElement.scrollWidth <= 390,"
        "page.querySelectorAll('article').length, page.querySelector('math').getBoundingClientRect().height > 15,"
        "[...page.images].every(i => i.naturalWidth > 0)].join(' '); };</script>",
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    ran = subprocess.run(
        ["chromium", *flags, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    assert '<p id="said">true 5 true true</p>' in ran.stdout
