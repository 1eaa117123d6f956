"""The section on anticipation: how accuracy grows as the action comes nearer, beside rankings that see no picture."""

from egokeras import plots
from egokeras.report import page

BASELINES = {"markov": "Markov", "majority": "majority", "chance": "chance"}
DRAWN = ("markov", "majority")
SUBSETS = {
    "overall": "all classes",
    "many_shot": "many-shot by this run's training clips",
    "many_shot_either": "the same, verb or noun (RU-LSTM)",
    "unseen": "unseen groups",
    "tail": "tail",
}
ABOUT = (
    "Percent of clips whose label is among the best five, by the seconds that are left before the action; the band is the 95% interval "
    "over videos. Markov ranks by what followed the last action that is known at that time in the training videos: it sees no picture, "
    "and knows the labels of the past as they were annotated. Majority ranks by how often a class occurs in training."
)
ABOUT_RECALL = (
    "Percent at 1 s, averaged over the classes that occur among the clips. Many-shot: verbs and nouns with more than 100 training clips, "
    "and actions of two such that occur in training (EPIC-KITCHENS-55); RU-LSTM counts actions of which either is one."
)
ABOUT_TIME = "Mean seconds before the action at which it is first among the best five; 0 if it never is."


def sentence(found, clips):
    """What the figures come to: top-5 at 1 s, and whether it is above the better of the baselines."""
    at, level, said = found["times"].index(1.0), [], []
    for head, result in found["heads"].items():
        said.append(f"{head} {result['top5'][at]:.1f}%")
        best = max(at_all(result[name]["top5"], at + 1)[at] for name in BASELINES if name in result)
        level += [head] * (result["top5_low"][at] <= best)
    tops = f"Top-5 on {clips:,} held-out clips, 1 s before the action: {', '.join(said)}"
    if level:
        return f"{tops}. For {', '.join(level)} the 95% interval is not above the best baseline, which only counts."
    return f"{tops}, with the 95% interval above every baseline."


def tiles(found):
    """The key figures: top-5 at 1 s of each head."""
    at = found["times"].index(1.0)
    for head, result in found["heads"].items():
        beside = f"Markov {result['markov']['top5'][at]:.1f}%" if "markov" in result else f"chance {result['chance']['top5']:.1f}%"
        yield page.tile(f"{result['top5'][at]:.1f}%", f"{head} top-5 at {found['times'][at]:g} s", beside)


def section(found):
    """The parts of the section from the entry `anticipation` of the metrics."""
    if not found["heads"]:
        return [page.paragraph("The held-out clips have no labels to score by.")]
    times, panels = found["times"], [_panel(head, result, found["times"]) for head, result in found["heads"].items()]
    left_out = f"{found['discarded']:,} segments before which nothing was observed are left out." if found["discarded"] else ""
    return [
        page.paragraph(ABOUT, kind="note"),
        page.element("div", *panels, kind="panels"),
        _accuracies(found["heads"], times, left_out),
        page.beside(
            page.block(page.element("h3", "Mean top-5 recall"), _recalls(found["recall5"], times.index(1.0))),
            page.block(page.element("h3", "Time to action"), _times(found["time_to_action"])),
        ),
    ]


def at_all(values, count):
    """A score at each of `count` times; one number holds at all of them."""
    return values if isinstance(values, list) else [values] * count


def lines(result, times):
    """Top-5 over time of the model and the baselines that are drawn, from a head's entry."""
    return {"model": result["top5"]} | {BASELINES[name]: at_all(result[name]["top5"], len(times)) for name in DRAWN if name in result}


def drawing(result, times):
    """The matplotlib figure of a head's top-5 over time."""
    return plots.over_time(times, lines(result, times), (result["top5_low"], result["top5_high"]))


def _panel(head, result, times):
    at = times.index(1.0)
    said = ", ".join(f"{name} {values[at]:.1f}%" for name, values in lines(result, times).items())
    picture = plots.svg(drawing(result, times), f"top-5 of {head} over anticipation time; at 1 s {said}")
    return page.figure(page.Html(picture), f"at 1 s: {said}", title=head)


def _accuracies(heads, times, left_out):
    groups = []
    for head, result in heads.items():
        model = [head, "model", *(page.strong(f"{value:.1f}") for value in result["top5"]), f"{result['clips']:,}"]
        rows = [model, ["", "model, top-1", *(f"{value:.1f}" for value in result["top1"]), ""]]
        rows += [["", BASELINES[name], *_cells(result[name]["top5"], len(times)), ""] for name in BASELINES if name in result]
        groups.append(rows)
    columns = ["head", "ranking", *(f"#{time:g} s" for time in times), "#clips"]
    return page.table(columns, *groups, caption=f"Top-5 by ranking, and top-1 of the model. {left_out}".strip())


def _cells(values, count):
    """Chance among 3,806 actions is 0.13%, not 0.0%."""
    return [f"{value:.1f}" if value >= 0.95 or not value else f"{value:.2g}" for value in at_all(values, count)]


def _recalls(recall5, at):
    groups = []
    for subset, heads in recall5.items():
        rows: list = []
        for head, result in heads.items():
            scores = [f"{at_all(result[name], at + 1)[at]:.1f}" if name in result else "" for name in ("model", *DRAWN)]
            rows.append(["" if rows else SUBSETS.get(subset, subset), head, page.strong(scores[0]), *scores[1:], f"{result['classes']:,}"])
        groups.append(rows)
    return page.table(["classes", "head", "#model", "#Markov", "#majority", "#classes"], *groups, caption=ABOUT_RECALL)


def _times(ranked):
    rows = [
        [head, page.strong(f"{found['model']:.2f}"), *(f"{found[name]:.2f}" if name in found else "" for name in DRAWN)]
        for head, found in ranked.items()
    ]
    return page.table(["head", "#model", "#Markov", "#majority"], rows, caption=ABOUT_TIME)
