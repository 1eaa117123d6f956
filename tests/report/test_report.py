"""The page of a fabricated run: everything on it, nothing from outside, every string escaped, small enough."""

import html.parser
import json
import re
import zlib

import numpy as np
import pytest

from egokeras import plots, report, scores
from egokeras.data.shards import Shards, ShardWriter, table_dtype
from egokeras.errors import InputError
from egokeras.evaluate import Training, score, summarise_folds, write
from egokeras.report import film, page, sections

VERBS = ("take", "put", "open", "close", "pour out", "fill", "wash", "cut")
NOUNS = ("cup", "plate", "<b>fork</b>", "pan", "kettle", "bottle", "knife", "sponge", "board", "tap", "drawer", "fridge")
FRAMES, SIDE = 8, 64


def _clip(verb, noun, rng):
    """A square whose colour is the noun and whose path is the verb, on a kitchen-coloured gradient."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    clip = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    for time in range(FRAMES):
        clip[time] = np.stack([140 + rows // 2, 120 + columns // 2, 100 + rows // 4], axis=2) + rng.integers(0, 12, (SIDE, SIDE, 1))
        x, y = 8 + (time if verb % 2 else FRAMES - time) * 5, 6 + 5 * verb
        clip[time, y : y + 14, x : x + 14] = (200 * (noun % 3) // 2, 230 * (noun % 5) // 4, 255 * (noun % 4) // 3)
    return clip


def _shards(folder, clips=160):
    rng = np.random.default_rng(3)
    folder.mkdir()
    spaces = {"verb": VERBS, "noun": NOUNS}
    table = np.zeros(clips, table_dtype(10, 10, 4, spaces))
    writer = ShardWriter(folder, shape=(FRAMES, SIDE, SIDE, 3))
    for number, record in enumerate(table):
        verb, noun = int(len(VERBS) * rng.random() ** 1.6), int(len(NOUNS) * rng.random() ** 1.5)
        pixels = _clip(verb, noun, rng)
        place = writer.append(pixels)
        group = number // 20
        record["uid"], record["video"], record["group"] = f"P{group}_{number:03d}", f"P{group}_{number // 5}", f"P{group}"
        record["shard"], record["offset"], record["size"], record["checksum"] = *place, zlib.crc32(pixels)
        record["splits"], record["label_verb"], record["label_noun"] = 1 if group < 5 else 2, verb, noun
    about = {"modality": "rgb", "channels": "RGB", "classes": spaces, "splits": ["train", "validation"], "quarantined": 3, "sources": []}
    writer.finish(table, about)
    (folder / "quarantine.csv").write_text(
        "uid,video,reason\n" + "a,b,cannot be decoded: moov atom not found\n" * 2 + "c,d,no video stream\n"
    )


def _logits(labels, classes, rng):
    """Right more often than not, and sure of it when wrong on a few."""
    logits = rng.normal(size=(len(labels), classes)).astype("float32")
    logits[np.arange(len(labels)), labels] += 2.2
    logits[::17] = 0
    logits[np.arange(len(labels))[::17], (labels[::17] + 1) % classes] = 7
    return logits


def _artifact(name, size, lost, answer):
    figures = {
        "keras_top1": 71.7,
        "tflite_top1": 71.7 - lost,
        "lost": lost,
        "lost_low": lost - 1,
        "lost_high": lost + 0.8,
        "agreement": 99.1 - lost,
    }
    gate = {
        "answer": answer,
        "clips": 60,
        "windows": 200,
        "heads": {"verb": figures, "noun": figures},
        "limits": {},
        "max_difference": 0.01,
    }
    files = {"model.tflite": {"sha256": "0" * 64, "bytes": size}, "input_1_00.bin": {"sha256": "0" * 64, "bytes": 10**9}}
    return {"format": 2, "name": name, "parts": [{"file": "model.tflite"}], "files": files, "gate": gate, "quantization": name}


def _timing(name, threads, p50):
    times = {"first_ms": p50 * 3, "p50_ms": p50, "p90_ms": p50 * 1.1, "p95_ms": p50 * 1.2, "mean_ms": p50, "load_ms": 3.0}
    return {"artifact": name, "threads": threads, "runs": 100, "peak_memory_mb": 41.5, **times}


def _history(epochs):
    columns = "epoch,loss,verb_top1,noun_top1,val_loss,val_verb_top1,val_noun_top1,learning_rate\n"
    fall = [1 / (1 + 0.2 * epoch) for epoch in range(epochs)]
    rows = [
        [n, 4.6 * f, 0.9 - 0.7 * f, 0.8 - 0.7 * f, 0.7 + 4 * f, 0.75 - 0.6 * f, 0.6 - 0.5 * f, 1e-3 * 0.2 ** (n // 12)]
        for n, f in enumerate(fall)
    ]
    return columns + "".join(",".join(map(str, row)) + "\n" for row in rows)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """A run with everything on the page, fabricated."""
    root = tmp_path_factory.mktemp("report")
    _shards(root / "shards")
    shards = Shards(root / "shards")
    run = root / "kitchen & <script>alert(1)<script>"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"data": {"shards": str(root / "shards")}, "epochs": 30, "note": "</pre><script>"}))
    (run / "classes.json").write_text(json.dumps({"verb": VERBS, "noun": NOUNS}))
    (run / "history.csv").write_text(_history(30))
    rng, rows, train = np.random.default_rng(5), shards.rows("validation"), shards.rows("train")
    sides = {}
    for name, chosen in (("predictions", rows), ("train_predictions", train)):
        sides[name] = {"uid": shards.clips["uid"][chosen], "video": shards.clips["video"][chosen]}
        for head, names in (("verb", VERBS), ("noun", NOUNS)):
            known = shards.labels(head, chosen)
            sides[name] |= {f"logits_{head}": _logits(known, len(names), rng), f"label_{head}": known}
            sides[name][f"training_{head}"] = np.bincount(shards.labels(head, train), minlength=len(names))
    training = Training(labels={head: shards.labels(head, train) for head in ("verb", "noun")}, groups=shards.clips["group"][train])
    metrics = {"split": "validation", **score(sides["predictions"], training, shards.clips["group"][rows])}
    folds = [{"heads": {"verb": {"top1": top1, "clips": 40, "majority": {"top1": 31.0}}}} for top1 in (61.2, 66.0, 58.3, 70.1, 64.9)]
    write(run, {**metrics, "folds": summarise_folds(folds)}, sides["predictions"])
    np.savez(run / "train_predictions.npz", **sides["train_predictions"])
    for artifact in (_artifact("float32", 1_940_000, 0.0, "pass"), _artifact("int8", 640_000, 1.7, "untested")):
        (run / "exports" / artifact["name"]).mkdir(parents=True)
        (run / "exports" / artifact["name"] / "artifact.json").write_text(json.dumps(artifact))
    results = [_timing("float32", 1, 9.12), _timing("float32", 2, 5.5), _timing("int8", 1, 4.0), _timing("int8", 2, 2.6)]
    host = {"processor": "Cortex-A78AE (8 cores) & friends", "cores": 8, "system": "Linux"}
    (run / "latency.json").write_text(json.dumps({"host": host, "results": results}))
    return run


@pytest.fixture(scope="session")
def content(run_dir):
    """The page of the whole run."""
    path = report.write(run_dir)
    assert path == run_dir / "report.html"
    return path.read_text(encoding="utf-8")


class Reader(html.parser.HTMLParser):
    """Tags, ids and attributes of a page; fails on a tag that is not closed in order."""

    VOID = ("meta", "br", "img", "path", "use", "rect", "image")

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_is_self_contained_and_small(content):
    reader = Reader(content)
    assert len(content.encode()) < report.LARGEST
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    links = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href")]
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"url\((?!#)|@import", content)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_navigation_and_svg_references_have_their_targets(content):
    reader = Reader(content)
    ids = {value for name, value in reader.attributes if name == "id"}
    used = {value[1:] for name, value in reader.attributes if name in ("href", "xlink:href") and value.startswith("#")}
    assert used | set(re.findall(r"url\(#([^)]+)\)", content)) <= ids


def test_every_picture_is_described(content):
    pictures = re.findall(r"<(?:img|svg) [^>]*>", content)
    assert len(pictures) > 20
    assert all(re.search(r'(alt|aria-label)="[^"]+"', picture) for picture in pictures)


def test_names_of_users_are_text_not_markup(content, run_dir):
    reader = Reader(content)
    assert run_dir.name in reader.text
    assert "<b>fork</b>" in reader.text
    assert "</pre><script>" in reader.text
    assert content.count("<b>") == 5  # the key figures, and no fork


def test_page_tells_scores_baselines_exports_and_folds(content, run_dir):
    text = Reader(content).text
    metrics = json.loads((run_dir / "metrics.json").read_text())
    for result in metrics["heads"].values():
        for values in (result, result["majority"], result["chance"]):
            assert f"{values['top3']:.1f}" in text
    for expected in (
        "64.1",
        "1.94 MB",
        "97.40",
        "untested",
        "Cortex-A78AE (8 cores) & friends",
        "10.9",
        "All held-out clips are of groups",
    ):
        assert expected in text
    assert "cannot be decoded: moov atom not found2" in text
    assert "held-out 1.288" in text


def test_clips_that_disagree_for_sure_are_shown(content):
    text = Reader(content).text
    assert "4 of 60 clips; the first 4" in text
    assert "6 of 100 clips; the first 6" in text


def test_mislabelled_clips_come_surest_first():
    logits = np.log(np.array([[0.90, 0.04, 0.06], [0.99, 0.005, 0.005], [0.85, 0.10, 0.05], [0.97, 0.01, 0.02]]))
    labels = np.array([1, 1, 1, 0])
    found = scores.mislabelled({"logits_verb": logits, "label_verb": labels})
    assert [row for row, *_ in found] == [1, 0]  # 2 is not ruled out, 3 is right
    assert found[0][2:] == pytest.approx((0.005, 0.99))


def test_samples_are_right_or_wrong_as_they_say():
    eye = np.eye(3)
    predictions = {"logits_verb": eye[[0, 1, 2, 0, 1]], "label_verb": np.array([0, 1, 2, 1, -1])}
    predictions |= {"logits_noun": eye[[0, 1, 2, 0, 1]], "label_noun": np.array([0, 2, 2, 0, -1])}
    right, wrong = scores.samples(predictions, 9)
    assert sorted(right) == [0, 2]
    assert sorted(wrong) == [1, 3]


def test_film_strip_keeps_colours_and_order():
    import cv2

    clip = np.zeros((12, 192, 256, 3), np.uint8)
    clip[..., 0] = np.arange(12)[:, None, None] * 20
    picture, width, height = film.strip(clip)
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert image.shape == (height, width, 3) == (96, 6 * 128 + 5 * film.GAP, 3)
    reds = image[48, 64 :: 128 + film.GAP]
    assert np.abs(reds[:, 0].astype(int) - [0, 40, 80, 140, 180, 220]).max() < 8
    assert reds[:, 1:].max() < 8


def test_a_bare_run_names_the_commands_for_what_is_missing(tmp_path):
    (tmp_path / "recipe.json").write_text('{"data": {"shards": "/nowhere"}}')
    text = Reader(report.write(tmp_path).read_text()).text
    for expected in (f"egokeras evaluate {tmp_path}", f"egokeras export {tmp_path} int8", "cannot be read here", "no history"):
        assert expected in text


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        report.write(tmp_path)


def test_a_page_that_is_too_large_gets_fewer_pictures(run_dir, content, monkeypatch):
    monkeypatch.setattr(report, "CLIPS", (8, 0))
    monkeypatch.setattr(report, "LARGEST", len(content.encode()) - 1)
    smaller = report.write(run_dir).read_text(encoding="utf-8")
    assert "<img" in content
    assert "<img" not in smaller


def test_many_classes_are_drawn_without_names():
    rng = np.random.default_rng(0)
    labels, names = rng.integers(0, 300, 900), tuple(f"noun {number}" for number in range(300))
    predictions = {"uid": np.arange(900), "logits_noun": rng.normal(size=(900, 300)), "label_noun": labels}
    markup = str(page.join(*sections.confusions(predictions, {"noun": names})))
    reader = Reader(markup)
    assert "Too many classes to name" in reader.text
    assert "Confused most often" in reader.text
    assert "noun 299" in reader.text  # in the table of every class
    assert len(markup) < 300_000


def test_recall_is_of_the_label_and_precision_of_the_prediction():
    logits = np.eye(3)[[0, 0, 1, 1, 1]]
    predictions = {
        "uid": np.arange(5),
        "logits_verb": logits,
        "label_verb": np.array([0, 0, 0, 1, -1]),
        "training_verb": np.array([7, 5, 3]),
    }
    parts = sections.confusions(predictions, {"verb": ("take", "put", "wash")})
    text = Reader(str(page.join(*parts))).text
    assert text.endswith("take7366.7%100.0%put51100.0%50.0%wash30––")


def test_drawings_take_the_colour_of_the_page(content):
    assert "currentColor" in content
    assert plots.INK not in content


def test_a_chance_among_many_actions_is_not_rounded_away():
    tops = {"top1": 12.34, "top3": 0.05, "top5": 0.0}
    result = {"clips": 9668, "low": 11.0, "high": 13.0, **tops, "chance": {"top1": 0.0034, "top3": 0.0103, "top5": 0.0172}}
    parts = sections.scores({"clips": 9668, "heads": {"action": result}}, "run")
    assert Reader(str(page.join(*parts))).text.endswith("actionmodel12.311.0–13.00.050.09,668chance0.0030.010.02")


def test_confusion_as_png_for_a_file():
    import cv2

    picture = plots.png(plots.confusion(np.array([[3, 1], [0, 2]]), ("take", "put")))
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image.min() < 40  # text in black
