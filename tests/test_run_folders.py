"""Run folders from outside: found wherever they lie, told apart by the clips that judged them, damage named."""

import json

import numpy as np
import pytest

from egokeras import run_folders
from egokeras.errors import InputError
from egokeras.files import UNFINISHED
from egokeras.run_folders import find

CLIPS = {"uid": ["c1", "c2", "c3"], "video": ["v1", "v1", "v2"], "label_verb": [0, 1, 1]}


def places(folder, of):
    return [str(run.folder.relative_to(of)) for run in find(folder)]


def test_runs_are_found_alone_in_stages_in_seeds_and_below(tmp_path, make_run):
    make_run(tmp_path / "runs" / "single")
    for seed in (10, 9):
        make_run(tmp_path / "runs" / "several" / f"seed-{seed}", seed=seed)
    for stage in ("two", "one"):
        make_run(tmp_path / "runs" / "two-3" / stage, name=stage)
    assert places(tmp_path / "runs" / "single", tmp_path) == ["runs/single"]
    assert places(tmp_path / "runs" / "several", tmp_path) == ["runs/several/seed-9", "runs/several/seed-10"]
    (staged,) = find(tmp_path / "runs" / "two-3")
    assert [stage.name for stage in staged.stages] == ["one", "two"] and staged.name == "two" and staged.folder.name == "two-3"
    assert len(find(tmp_path / "runs")) == 4
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "absent"):
        with pytest.raises(InputError, match=f"{nothing} holds no run"):
            find(tmp_path / nothing)


def test_an_experiment_has_the_order_of_its_record_whole_or_in_part(tmp_path, monkeypatch, make_run):
    grid = tmp_path / "runs" / "pair"
    paths = [f"method={method}/seed-{seed}" for method in ("Supervised", "LabelSmoothing") for seed in (0, 1)]
    for path in paths[:3]:
        for stage in ("one", "pair"):
            make_run(grid / path / stage, name=stage)
    (grid / "experiment.json").write_text(json.dumps({"runs": {path: ["one", "pair"] for path in paths}}))
    assert places(grid, grid) == paths
    assert places(grid / "method=LabelSmoothing", grid) == paths[2:] and places(grid / paths[1], grid) == paths[1:2]
    assert [run.finished for run in find(grid)] == [True, True, True, False]
    assert [stage.name for stage in find(grid)[0].stages] == ["one", "pair"]
    monkeypatch.chdir(tmp_path)
    assert str(find("runs/pair")[0].folder) == f"runs/pair/{paths[0]}"  # as it was given
    (grid / paths[0] / UNFINISHED).touch()
    assert not find(grid)[0].finished


@pytest.mark.parametrize("runs", [[], {"../../elsewhere": ["a"]}, {"/etc": ["a"]}, {"a": []}, {"a": [".."]}, {"a": [1]}, {"a": "b"}])
def test_a_broken_record_is_named(tmp_path, runs):
    (tmp_path / "experiment.json").write_text(json.dumps({"runs": runs}))
    with pytest.raises(InputError, match="experiment.json is not the record of an experiment"):
        find(tmp_path)


def test_scores_have_their_names_and_baselines(tmp_path, make_run):
    verb = {"top1": 60.0, "top5": 100.0, "chance": {"top1": 50.0, "top5": 100.0}, "majority": {"top1": 55.0, "top5": 100.0}}
    noun = {"top1": 7.0, "top5": 20.0, "chance": {"top1": 1.0, "top5": 5.0}}
    (run,) = find(make_run(tmp_path / "a", heads={"verb": verb, "noun": noun}))
    assert run.scores == {"verb_top1": 60.0, "noun_top1": 7.0, "noun_top5": 20.0}  # the best five of two verbs are no score
    assert run.references == {"majority": {"verb_top1": 55.0}, "chance": {"verb_top1": 50.0, "noun_top1": 1.0, "noun_top5": 5.0}}
    action = {
        "top1": [1.0, 2.0],
        "top5": [5.0, 8.0],
        "chance": {"top1": 0.1, "top5": 0.5},
        "markov": {"top1": [0.5, 1.5], "top5": [4.0, 6.0]},
    }
    over_time = {"times": [2.0, 1.0], "heads": {"action": action}}
    (run,) = find(make_run(tmp_path / "b", metrics={"anticipation": over_time}))
    assert run.scores == {"action_top1@1s": 2.0, "action_top5@1s": 8.0}
    assert run.references["markov"] == {"action_top1@1s": 1.5, "action_top5@1s": 6.0}
    assert run.references["chance"]["action_top5@1s"] == 0.5


def test_clips_are_the_same_in_any_order_and_by_the_labels_that_both_have(tmp_path, make_run):
    base = find(make_run(tmp_path / "base"))[0]
    turned = {column: values[::-1] for column, values in CLIPS.items()}
    more = {**CLIPS, "label_noun": [1, 2, 3]}
    fewer = {column: values[:2] for column, values in CLIPS.items()}
    for name, clips, same in (
        ("turned", turned, True),
        ("head", more, True),
        ("fewer", fewer, False),
        ("labels", {**CLIPS, "label_verb": [1, 1, 1]}, False),
        ("videos", {**CLIPS, "video": ["v1", "v2", "v2"]}, False),
        ("uids", {**CLIPS, "uid": ["c1", "c2", "c4"]}, False),
    ):
        other = find(make_run(tmp_path / name, clips=clips))[0]
        assert base.same_clips(other) == other.same_clips(base) == same, name


def test_seconds_add_up_over_interruptions_and_stages(tmp_path, make_run):
    for stage, seconds in (("one", "0,1.5\n0,2.0\n1,0.5\n"), ("two", "0,3.25\n1,")):  # the last line was cut short
        make_run(tmp_path / "two" / stage, name=stage, seconds=seconds)
    assert find(tmp_path / "two")[0].seconds == 7.25
    (tmp_path / "two" / "one" / "seconds.csv").unlink()
    assert find(tmp_path / "two")[0].seconds is None


def test_damage_is_named_and_no_pickle_is_read(tmp_path, make_run):
    run = find(make_run(tmp_path / "a"))[0]
    np.savez(tmp_path / "a" / "predictions.npz", uid=np.array([object()]), video=np.array(["v"]))
    with pytest.raises(InputError, match=r"predictions.npz is damaged \(Object arrays cannot be loaded"):
        run.same_clips(run)
    for content in (b"no archive", b""):
        (tmp_path / "a" / "predictions.npz").write_bytes(content)
        with pytest.raises(InputError, match="predictions.npz is damaged"):
            find(tmp_path / "a")[0].same_clips(run)
    (tmp_path / "a" / "predictions.npz").unlink()
    with pytest.raises(InputError, match="nothing says which clips"):
        find(tmp_path / "a")[0].same_clips(run)
    for file, attribute, message in (
        ("metrics.json", "scores", "is not the scores of a run"),
        ("recipe.json", "seed", "is not the recipe of a run"),
    ):
        for content in ("[]", '{"heads": {"verb": {"top1": 1}}, "clips": 3, "split": "a"}', '{"name": 3, "seed": 1}', '"text"'):
            (tmp_path / "a" / file).write_text(content)
            with pytest.raises(InputError, match=message):
                getattr(find(tmp_path / "a")[0], attribute)


def test_a_column_larger_than_memory_is_not_unpacked(tmp_path, monkeypatch, make_run):
    run = find(make_run(tmp_path / "a"))[0]
    monkeypatch.setattr(run_folders, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="its columns are too large"):
        run.same_clips(run)
