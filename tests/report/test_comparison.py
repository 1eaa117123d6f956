"""The page and the LaTeX table of a comparison: all figures on them, nothing that a name could break."""

import html.parser
import re

import pytest

from egokeras.comparison import compare
from egokeras.optim import Optim
from egokeras.report import comparison, latex
from egokeras.report.comparison import duration

HOSTILE = "</h1><script>alert(1)</script>\\input{x}%$#&_^~{}\"'`<b>*[–\x1b[31m--"
HISTORY = "epoch,loss,val_loss,val_verb_top1\n0,2.0,2.1,0.3\n1,1.0,1.5,{last}\n"


@pytest.fixture
def found(tmp_path, make_run):
    """Two rows of two seeds, one of them of a recipe with a name that means harm, beside a published score."""
    for seed, value in ((0, 60.0), (1, 62.0)):
        make_run(
            tmp_path / f"a{seed}", seed=seed, heads=value, history=HISTORY.format(last=0.5), paper="vu2022", published={"verb_top1": 69.8}
        )
        longer = HISTORY.format(last=0.7) + "2,0.5,1.4,0.8\n" * (seed == 0)
        make_run(
            tmp_path / f"b{seed}", seed=seed, heads=value + 5.1 + seed / 10, history=longer, name=HOSTILE, optim=Optim(learning_rate=1e-5)
        )
    return compare([tmp_path / name for name in ("a0", "a1", "b0", "b1")])


class Page(html.parser.HTMLParser):
    """Tags, and the text outside of them."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text, self.attributes = [], "", []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def test_the_page_has_all_and_fetches_nothing(found, tmp_path):
    comparison.write(tmp_path / "page.html", found)
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    read = Page(content)
    assert "script" not in read.tags and "link" not in read.tags and "img" not in read.tags
    assert not [value for name, value in read.attributes if name in ("src", "href") and value and not value.startswith("#")]
    assert HOSTILE.replace("\x1b", "\x1b") in read.text and "<script" not in content and "<b>*" not in content
    for said in ("61.00", "66.15", "+5.15", "(+4.51 to +5.79)", "above", "published: Vu et al., 2022", "69.80", "majority", "40.00"):
        assert said in read.text, said
    assert read.tags.count("svg") == 1 + 3  # a score; loss, held-out loss and top-1
    assert "held-out verb top1" in read.text and str(tmp_path / "b1") in read.text


def test_an_interval_stays_within_what_a_score_can_be(tmp_path, make_run):
    for seed, value in ((0, 60.0), (1, 100.0)):
        make_run(tmp_path / f"a{seed}", seed=seed, heads=value)
    whole = compare([tmp_path / "a0", tmp_path / "a1"])
    assert "0.00 to 100.00" in comparison.render(whole) and "The runs have no histories of training in common" in comparison.render(whole)
    assert r"80.00 $\pm$ 254.12" in latex.table(whole)


def test_the_table_is_booktabs_and_escaped(found, tmp_path):
    latex.write(tmp_path / "table.tex", found)
    lines = [line for line in (tmp_path / "table.tex").read_text(encoding="utf-8").splitlines() if not line.startswith("%")]
    assert lines[0].startswith(r"\begin{tabular}{lr") and lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    rows = [line for line in lines if line.endswith(r" \\")]
    columns = len(re.search(r"\{(lr+)\}", lines[0])[1])
    assert all(len(re.findall(r"(?<!\\)&", row)) == columns - 1 for row in rows)
    assert r"61.00 $\pm$ 12.71" in rows[1] and r"66.15 $\pm$ 13.34$^{\uparrow}$" in rows[2]
    assert latex.escape("a_b & 50% {x} [1] --") == r"a\_b \& 50\% \{x\} {[}1] {-}{-}"
    name = rows[2].partition(" & ")[0]
    assert "\x1b" not in name and not re.search(r"(?<!\\)[%$#&_](?!\{)|\\input", name)
    assert depth(name) == 0 and r"\textbackslash{}input\{x\}" in name


def depth(text):
    """Of braces at the end, escaped ones aside."""
    bare = re.sub(r"\\[{}]", "", text)
    return bare.count("{") - bare.count("}")


def test_many_rows_share_the_colours_that_there_are(tmp_path, make_run):
    for epochs in range(1, 11):
        make_run(tmp_path / str(epochs), epochs=epochs, history=HISTORY.format(last=0.5))
    content = comparison.render(compare([tmp_path]))
    assert "The first 8 of 10 rows." in content and content.count("■") == 8


def test_durations_are_in_the_unit_that_fits():
    assert [duration(seconds) for seconds in (0.4, 59, 60, 5400)] == ["0 s", "59 s", "1.0 min", "1.5 h"]
