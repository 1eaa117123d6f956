"""The sections of the report page, each a list of parts made from one piece of a run; what is missing names its command."""

import collections
import csv
import pathlib
import shlex

import numpy as np

from egokeras import plots
from egokeras.device.manifest import run_bytes
from egokeras.report import anticipation, page
from egokeras.scores import confusion, heads

CONFUSED_PAIRS = 12
REASONS = 10
PANELS = 9
PIXELS_PER_INCH = 96
SUBSETS = {"unseen": "Groups that training did not see", "tail": "Tail classes"}
ABOUT_SCORES = (
    "Percent of clips, with the 95% interval of top-1 over videos. Majority ranks the classes by how often they occur in training, "
    "whatever the clip shows. Tail classes are the rarest, which together hold a fifth of the training clips."
)
NOT_EVALUATED = "This run has no predictions of held-out clips yet."


def top(name, metrics, exports, latency):
    """Name, summary in a sentence, key figures."""
    tiles = page.element("div", *_tiles(metrics, exports, latency), kind="tiles")
    return [page.paragraph("egokeras run", kind="kind"), page.element("h1", name), page.paragraph(_summary(metrics), kind="lead"), tiles]


def _summary(metrics):
    results = metrics.get("heads", {})
    if not results:
        return "This run has no scores yet."
    if "anticipation" in metrics:
        return anticipation.sentence(metrics["anticipation"], metrics["clips"])
    said = f"Top-1 on {metrics['clips']:,} held-out clips: " + _list([f"{head} {result['top1']:.1f}%" for head, result in results.items()])
    level = [head for head, result in results.items() if result["low"] <= _majority(result)]
    if level:
        return f"{said}. For {_list(level)} the 95% interval reaches down to the majority baseline: a constant guess may do as well."
    return f"{said}, with the 95% interval above the majority baseline."


def _majority(result):
    return result.get("majority", result["chance"])["top1"]


def _list(words):
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _tiles(metrics, exports, latency):
    yield from anticipation.tiles(metrics["anticipation"]) if "anticipation" in metrics else _top1(metrics.get("heads", {}))
    if exports:
        smallest = min(exports, key=run_bytes)
        yield page.tile(_megabytes(run_bytes(smallest)), f"{smallest['name']} export", "smallest file")
    if latency.get("results"):
        fastest = min(latency["results"], key=lambda result: result["p50_ms"])
        yield page.tile(f"{fastest['p50_ms']:.1f} ms", f"{fastest['artifact']} per clip", f"p50, {_threads(fastest)}")


def _top1(results):
    for head, result in results.items():
        baseline = "majority" if "majority" in result else "chance"
        yield page.tile(f"{result['top1']:.1f}%", f"{head} top-1", f"{baseline} {_majority(result):.1f}%")


def _megabytes(count):
    return f"{count / 1e6:.2f} MB"


def _threads(result):
    return f"{result['threads']} thread{'s' * (result['threads'] != 1)}"


def scores(metrics, folder):
    """Score tables of all clips and of the subsets, and folds."""
    if not metrics.get("heads"):
        return [page.paragraph("No scores yet: ", page.code(f"egokeras evaluate {_quoted(folder)}"), " makes them.")]
    blocks = [page.block(page.element("h3", "All clips"), _score_table(metrics["heads"]))]
    for name, title in SUBSETS.items():
        if name in metrics.get("subsets", {}):
            blocks.append(page.block(page.element("h3", title), _score_table(metrics["subsets"][name])))
    parts = [page.paragraph(ABOUT_SCORES, kind="note")]
    if 0 < metrics.get("unseen_clips", 0) == metrics["clips"]:
        parts.append(page.paragraph("All held-out clips are of groups (participants, sources) that training did not see.", kind="note"))
    return [*parts, page.beside(*blocks), *_folds(metrics.get("folds", {}))]


def _quoted(path):
    """As a shell takes it: people copy commands."""
    return shlex.quote(str(path))


def _score_table(results):
    groups = []
    for head, result in results.items():
        baselines = [name for name in ("majority", "chance") if name in result]
        interval = f"{result['low']:.1f}–{result['high']:.1f}"
        rows = [[head, "model", page.strong(f"{result['top1']:.1f}"), interval, *_rest(result), f"{result['clips']:,}"]]
        rows += [["", name, _score(result[name]["top1"]), "", *_rest(result[name]), ""] for name in baselines]
        groups.append(rows)
    return page.table(["head", "ranking", "#top-1", "#95%", "#top-3", "#top-5", "#clips"], *groups)


def _rest(result):
    return _score(result["top3"]), _score(result["top5"])


def _score(value):
    """Chance among 29,100 actions is 0.003%, not 0.0%."""
    return f"{value:.1f}" if value >= 0.1 or not value else f"{value:.1g}"


def _folds(folds):
    if not folds:
        return []
    most = max(len(result["per_fold"]) for result in folds.values())
    rows = []
    for head, result in folds.items():
        values = [f"{value:.1f}" for value in result["per_fold"]]
        majority = f"{result['majority']:.1f}" if "majority" in result else ""
        interval = f"{result['low']:.1f}–{result['high']:.1f}"
        rows.append([head, page.strong(f"{result['top1']:.1f}"), interval, majority, *values, *[""] * (most - len(values))])
    columns = ["head", "#mean", "#95%", "#majority", *(f"#{number}" for number in range(1, most + 1))]
    title = page.element("h3", f"Over {most} folds")
    return [title, page.table(columns, rows, caption="Top-1 in percent. No group lies in two folds. 95%: t-interval over the folds.")]


def export(exports, latency, folder):
    """What the exported files cost, and how fast they are on which processor."""
    if not exports:
        return [page.paragraph("No export yet: ", page.code(f"egokeras export {_quoted(folder)} int8"), " makes one.")]
    groups = [_export_rows(artifact) for artifact in exports]
    columns = ["export", "#size", "head", "#Keras", "#file", "#lost", "#at most", "#agreement", "gate"]
    about = "Top-1 in percent of the Keras model and of the file. At most: 95% bound of the loss. Agreement: clips with equal top-1."
    return [page.table(columns, *groups, caption=about), *_latency(latency, exports, folder)]


def _export_rows(artifact):
    gate: dict = artifact["gate"]
    rows: list = []
    for head, figures in gate["heads"].items():
        values = [_figure(figures.get(name), "{:.2f}") for name in ("keras_top1", "tflite_top1", "lost", "lost_high", "agreement")]
        first = [artifact["name"], _megabytes(run_bytes(artifact))] if not rows else ["", ""]
        rows.append([*first, head, *values, _verdict(gate["answer"]) if not rows else ""])
    return rows or [[artifact["name"], _megabytes(run_bytes(artifact)), "", "", "", "", "", "", _verdict(gate["answer"])]]


def _figure(value, form):
    return "" if value is None or not np.isfinite(value) else form.format(value)


def _verdict(answer):
    return page.element("span", answer, kind="good" if answer == "pass" else "bad")


def _latency(latency, exports, folder):
    if not latency.get("results"):
        files = " ".join(_quoted(f"{folder}/exports/{artifact['name']}") for artifact in exports)
        return [page.paragraph("Not timed yet: ", page.code(f"egokeras benchmark {files}"), " measures them.")]
    rows = [
        [
            result["artifact"],
            str(result["threads"]),
            *(_figure(result.get(name), "{:.1f}") for name in ("first_ms", "p50_ms", "p90_ms", "p95_ms", "peak_memory_mb")),
            str(result.get("runs", "")),
        ]
        for result in latency["results"]
    ]
    columns = ["file", "#threads", "#first", "#p50", "#p90", "#p95", "#memory", "#runs"]
    host = latency.get("host", {})
    where = f"{host.get('processor', 'a processor that was not recorded')}, {host.get('cores', '?')} cores"
    about = f"Milliseconds per clip, memory in MB, measured on {where}."
    return [page.element("h3", "Latency"), page.table(columns, rows, caption=about)]


def training(history):
    """A small curve per quantity, training quiet and held-out strong."""
    epochs = history.get("epoch", ())
    names = [name for name in history if name not in ("epoch", "learning_rate") and not name.startswith("val_")]
    names += ["learning_rate"] * ("learning_rate" in history)
    if not len(epochs) or not names:
        return [page.paragraph("This run has no history of training.")]
    panels = []
    for name in names[:PANELS]:
        lines = {label: history[key] for label, key in (("training", name), ("held-out", f"val_{name}")) if key in history}
        title = name.replace("_", " ")
        last = ", ".join(f"{label} {values[-1]:.4g}" if len(lines) > 1 else f"{values[-1]:.4g}" for label, values in lines.items())
        picture = plots.svg(plots.curve(epochs, lines), f"{title} over {len(epochs)} epochs, at the end {last}")
        panels.append(page.figure(page.Html(picture), f"at the end: {last}", title=title))
    return [page.element("div", *panels, kind="panels")]


def confusions(predictions, classes):
    """Per head: confusion matrix, what is confused most often, and a table per class."""
    blocks, drawn = [], [head for head in heads(predictions) if len(classes[head]) <= plots.MOST_CLASSES]
    for head in drawn:
        labels, names = predictions[f"label_{head}"], classes[head]
        matrix = confusion(labels[labels >= 0], predictions[f"logits_{head}"][labels >= 0].argmax(axis=1), len(names))
        title = page.element("h3", _title(head))
        table = page.details(f"Every {head} class", _class_table(matrix, names, predictions.get(f"training_{head}")))
        confused = _confused(matrix, names) if len(names) > plots.MOST_NUMBERS else ""
        blocks.append(page.block(title, _matrix(head, matrix, names), confused, table))
    about = "Rows are labels, columns predictions; the shade is the share of the row."
    if left_out := [head for head in heads(predictions) if head not in drawn]:
        about += f" {_title(_list(left_out))} has too many classes for a picture."
    return [page.paragraph(about, kind="note"), page.beside(*blocks)] if blocks else [page.paragraph(NOT_EVALUATED)]


def _title(head):
    return head.replace("_", " ").capitalize()


def _matrix(head, matrix, names):
    """The picture; classes that are too many to name come in the order of their clips, so that the empty ones gather at the end."""
    description = f"confusion matrix of {head}: {np.trace(matrix)} of {matrix.sum()} clips right"
    if len(names) <= plots.MOST_NAMES:
        return _drawn(plots.confusion(matrix, names), description)
    order = np.argsort(-matrix.sum(axis=1), kind="stable")
    return _drawn(
        plots.confusion(matrix[np.ix_(order, order)], names), description, "Too many classes to name: the most frequent come first."
    )


def _drawn(drawing, description, *caption, title=""):
    """A matplotlib figure in its own size."""
    width = round(PIXELS_PER_INCH * drawing.get_figwidth())
    return page.figure(page.Html(plots.svg(drawing, description)), *caption, title=title, width=width)


def _confused(matrix, names):
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED_PAIRS]
    pairs = [divmod(int(at), len(names)) for at in order if wrong.flat[at]]
    rows = [[names[row], names[guess], wrong[row, guess], _percent(wrong[row, guess], matrix[row].sum())] for row, guess in pairs]
    return page.table(["label", "taken for", "#clips", "#of the label's"], rows, caption="Confused most often") if rows else ""


def _class_table(matrix, names, train_counts):
    support, guessed, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    columns = ["class", *(["#training clips"] if train_counts is not None else []), "#held-out clips", "#recall", "#precision"]
    rows = []
    for number in np.argsort(-support, kind="stable"):
        trained = [f"{train_counts[number]:,}"] if train_counts is not None else []
        rows.append([names[number], *trained, f"{support[number]:,}", *(_percent(right[number], of[number]) for of in (support, guessed))])
    return page.table(columns, rows)


def _percent(part, whole):
    return f"{100 * part / whole:.1f}%" if whole else "–"


def data(predictions, classes, shards):
    """Class histograms of what was trained on and judged by, counts of all splits, quarantine."""
    drawings = [_histogram(predictions, head, classes[head]) for head in heads(predictions)]
    parts = [page.beside(*drawings)] if drawings else []
    if shards is None:
        return [*parts, page.paragraph("The shards of this run cannot be read here any more, so their splits are not shown.")]
    size = " and ".join(_size(modality, shape) for modality, shape in shards.modalities.items())
    rows = [[split, *_counts(shards.clips[shards.rows(split)])] for split in shards.splits]
    counts = page.table(["split", "#clips", "#videos", "#groups"], rows, caption=f"Each clip is {size}.")
    return [
        *parts,
        page.element("h3", "Splits"),
        counts,
        *_quarantine(pathlib.Path(shards.path, "quarantine.csv"), shards.index.get("quarantined", 0)),
    ]


def _size(modality, shape):
    return f"{shape[0]} frames of {shape[2]}x{shape[1]} pixels" if modality == "rgb" else f"{modality} of {' x '.join(map(str, shape))}"


def _histogram(predictions, head, names):
    labels = predictions[f"label_{head}"]
    counts = {"training": predictions.get(f"training_{head}"), "held-out": np.bincount(labels[labels >= 0], minlength=len(names))}
    counts = {side: values for side, values in counts.items() if values is not None and values.any()}
    return _drawn(plots.histogram(counts, names), f"clips per {head} class: {_list(list(counts))}", title=f"{_title(head)} classes")


def _counts(clips):
    return [f"{count:,}" for count in (len(clips), len(np.unique(clips["video"])), len(np.unique(clips["group"])))]


def _quarantine(path, count):
    if not count or not path.is_file():
        return [page.paragraph("Every annotated clip could be read." if not count else f"{count} clips were put into quarantine.")]
    with open(path, newline="", encoding="utf-8") as file:
        reasons = collections.Counter(row["reason"] for row in csv.DictReader(file))
    rows = [[reason, number] for reason, number in reasons.most_common(REASONS)]
    more = f" {len(reasons) - REASONS} rarer reasons are in quarantine.csv." if len(reasons) > REASONS else ""
    title = page.element("h3", "Quarantine")
    return [title, page.table(["reason", "#clips"], rows, caption=f"{count} clips could not be used.{more}")]
