"""The papers: BibTeX that a parser takes, the same ones in CITATION.cff, none of it a setting of a recipe."""

import dataclasses
import importlib.util
import json
import re

import pytest

from egokeras import cli
from egokeras import recipe as recipes
from egokeras.errors import InputError
from egokeras.papers import PAPERS, bibtex
from egokeras.recipe import FACTS, Recipe


def braces(text):
    """The depth of braces at the end, never below zero on the way."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    return depth


def test_an_entry_has_what_is_known_and_nothing_else():
    assert bibtex("furnari2019").splitlines() == [
        "@inproceedings{furnari2019,",
        "  author = {Furnari, Antonino and Farinella, Giovanni Maria},",
        "  title = {{What Would You Expect? Anticipating Egocentric Actions with Rolling-Unrolling LSTMs and Modality Attention}},",
        "  booktitle = {IEEE International Conference on Computer Vision (ICCV)},",
        "  year = {2019},",
        "  eprint = {1905.09035},",
        "  archiveprefix = {arXiv},",
        "}",
    ]
    assert "@article{vu2021," in bibtex("vu2021") and "pages = {4510--4520}" in bibtex("sandler2018")
    assert "year" not in bibtex("egocentric_report") and "@misc" in bibtex("egocentric_report")
    assert PAPERS["furnari2019"].name == "Furnari and Farinella, 2019" and PAPERS["wu2018"].name == "Wu et al., 2018"


def test_every_entry_is_whole():
    for key, paper in PAPERS.items():
        assert paper.authors and paper.title and (paper.arxiv or paper.url or paper.journal or paper.conference)
        assert braces(bibtex(key)) == 0 and not re.search(r"= \{\}|None|[%#&\\]", bibtex(key))


def test_citation_file_has_them_all(root):
    text = (root / "CITATION.cff").read_text(encoding="utf-8")
    for required in ("cff-version: 1.2.0\n", "message: ", "title: egokeras\n", "authors:\n", "references:\n"):
        assert len(re.findall(f"^{re.escape(required)}", text, flags=re.M)) == 1
    assert "\t" not in text and not re.search(r"[^\n]: [^\"\n]*: ", text)  # a colon in a value needs quotes
    found = text.partition("references:\n")[2].split("  - type: ")[1:]
    assert len(found) == len(PAPERS)
    for entry, paper in zip(found, PAPERS.values(), strict=True):
        assert f'    title: "{paper.title}"\n    authors:\n' in entry
        people = [author for author in paper.authors if len(author) == 2]
        assert re.findall(r'family-names: "(.*)"\n        given-names: "(.*)"\n', entry) == people
        assert (f"    year: {paper.year}\n" in entry) == (paper.year is not None) and paper.arxiv in entry
    if importlib.util.find_spec("yaml"):
        import yaml

        parsed = yaml.safe_load(text)
        assert [reference["title"] for reference in parsed["references"]] == [paper.title for paper in PAPERS.values()]


def test_facts_of_a_recipe_are_no_settings():
    plain = Recipe(name="a")
    told = dataclasses.replace(plain, paper="vu2022", published={"action_top1": 69.8}, measured=True)
    record = json.loads(json.dumps(recipes.as_json(told)))
    assert record["published"] == {"action_top1": 69.8} and recipes.differences(record, plain) == []
    assert not any(key.partition(".")[0] in FACTS for key in recipes.settings(record))
    with pytest.raises(InputError, match="paper is 'vu1922'; egokeras knows egocentric_report, camporese2020"):
        Recipe(name="a", paper="vu1922")


def test_recipes_name_papers_and_scores_that_can_be_compared():
    for name in recipes.names():
        for stage in recipes.load(name):
            assert all(re.fullmatch(r"\w+_top[135](@1s)?", score) and 0 < value < 100 for score, value in stage.published.items())
            assert not stage.published or stage.paper
    assert recipes.load("anticipation_rulstm")[-1].published == {"action_top5@1s": 35.32}
    assert recipes.load("anticipation_rulstm", ["modalities=rgb_features"])[-1].published == {"action_top5@1s": 30.83}
    assert recipes.load("anticipation_rulstm", ["modalities=rgb_features,labels"])[-1].published == {}


def test_describe_prints_the_entry_and_list_what_was_never_run(capsys):
    assert cli.main(["describe", "anticipation_rulstm", "--bibtex"]) == 0
    assert capsys.readouterr().out == bibtex("furnari2019") + "\n"
    assert cli.main(["describe", "demo", "--bibtex"]) == 1
    assert "recipe 'demo' names no paper" in capsys.readouterr().err
    assert cli.main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "never run at full size" in lines["report_lstm"] and "never run" not in lines["demo"] + lines["int8"]
