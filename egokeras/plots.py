"""Figures for the report page (SVG that follows the page's colours) and for files (PNG), by matplotlib."""

import html
import io
import re

import numpy as np

ACCENT, QUIET = "#3b82f6", "#9aa4b2"
PALETTE = (ACCENT, "#e07a1f", "#2a9d6f", "#b4478c", "#8a6d3b", "#0e9aa7", "#c2410c", "#6d5bd0")
INK = "#010203"  # stands for the page's text colour in an SVG
MOST_NAMES = 40  # classes whose names still fit beside a picture
MOST_NUMBERS = 15  # classes whose counts still fit into the cells
MOST_CLASSES = 1000  # classes of a confusion matrix; EPIC-KITCHENS-100 has 3,806 actions
LONGEST_NAME = 22
LONGEST_ROW = 44


def svg(figure, description):
    """The figure as an inline `<svg>`: as wide as its place, in the colours of the page, `description` for screen readers."""
    import matplotlib

    _plain(figure)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}, dpi=150)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S).replace(INK, "currentColor")
    text = re.sub(r'\bid="(figure|axes|patch|text|line2d|matplotlib\.axis|[xy]tick|legend|LineCollection)_\d+"', "", text)
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', lambda match: _opening(match[1], html.escape(description)), text, count=1)


def _opening(box, description):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box} role="img" aria-label="{description}">'
    )


def _plain(figure):
    """A dollar in a class name begins no formula."""
    for text in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
        text.set_parse_math(False)


def png(figure):
    """The figure as PNG bytes on white."""
    from matplotlib.colors import to_hex

    _plain(figure)
    for text in figure.findobj(lambda artist: hasattr(artist, "get_color")):
        if to_hex(text.get_color()) == INK:  # a legend's is an array
            text.set_color("black")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()


def _figure(width, height):
    """A figure of `width` x `height` inches and its one plain axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.add_subplot()
    axis.tick_params(labelsize=8, colors=INK, length=2, width=0.6)
    for side, spine in axis.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=QUIET, linewidth=0.6)
    axis.xaxis.label.set(color=INK, fontsize=8)
    axis.yaxis.label.set(color=INK, fontsize=8)
    return figure, axis


def _legend(axis):
    axis.legend(fontsize=8, frameon=False, labelcolor=INK)


def curve(epochs, lines):
    """Lines over epochs.

    Args:
        epochs: (epochs,).
        lines: name to values (epochs,); the last is drawn strong, the others quiet.
    """
    figure, axis = _figure(3.4, 2.1)
    for position, (name, values) in enumerate(lines.items(), 1):
        strong = position == len(lines)
        marker = "o" if len(epochs) < 3 else None
        axis.plot(
            epochs, values, color=ACCENT if strong else QUIET, linewidth=1.8 if strong else 1.4, label=name, marker=marker, markersize=3
        )
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
    if len(lines) > 1:
        _legend(axis)
    return figure


def bands(rows):
    """Curves over epochs, in the order and colours of PALETTE: the mean over seeds, and from the lowest to the highest of them.

    Args:
        rows: (seeds, epochs) of each row.
    """
    figure, axis = _figure(3.4, 2.1)
    for values, colour in zip(rows, PALETTE, strict=False):
        epochs = np.arange(1, values.shape[1] + 1)
        if len(values) > 1:
            axis.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        axis.plot(epochs, values.mean(axis=0), color=colour, linewidth=1.5, marker="o" if len(epochs) < 3 else None, markersize=3)
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
    return figure


def intervals(rows, references):
    """A score of every row as a point with its interval, the first row at the top, beside what it is measured by.

    Args:
        rows: (name, mean, low, high) each; the bounds are None where there are none.
        references: name to value, drawn as lines.
    """
    figure, axis = _figure(6.6, 1.0 + 0.28 * len(rows))
    for at, (_, mean, low, high) in enumerate(rows):
        if low is not None:
            axis.plot([low, high], [at, at], color=ACCENT, linewidth=1.8)
        axis.plot([mean], [at], "o", color=ACCENT, markersize=4.5)
    for (name, value), style in zip(references.items(), ("--", ":", "-.", (0, (5, 1)), (0, (1, 3))), strict=False):
        axis.axvline(value, color=QUIET, linestyle=style, linewidth=1.2, label=name)
    names = [name if len(name) <= LONGEST_ROW else name[: LONGEST_ROW - 1] + "…" for name, *_ in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.set(xlabel="%", ylim=(len(rows) - 0.5, -0.5))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.6)
    if references:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def over_time(times, lines, bounds=None):
    """Scores over the time that is left before the action, which runs to the right.

    Args:
        times: (times,) seconds before the action, the longest first.
        lines: name to values (times,) in percent; the first is drawn strong, the others quiet.
        bounds: lower and upper bounds (times,) of the first, or None.
    """
    figure, axis = _figure(3.4, 2.4)
    if bounds is not None:
        axis.fill_between(times, *bounds, color=ACCENT, alpha=0.15, linewidth=0)
    styles = [(ACCENT, "-", 1.8), (QUIET, "--", 1.4), (QUIET, ":", 1.4), (QUIET, "-.", 1.4)]
    for (name, values), (colour, style, width) in zip(lines.items(), styles, strict=False):
        marker = "o" if colour == ACCENT else None
        axis.plot(times, values, style, color=colour, linewidth=width, label=name, marker=marker, markersize=3)
    axis.set(xlabel="seconds before the action", ylabel="top-5, %", ylim=(0, None))
    axis.set_xlim(max(times) + 0.05, 0)
    axis.set_xticks(np.arange(0, max(times) + 0.25, 0.5))
    axis.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
    if len(lines) > 1:
        _legend(axis)
    return figure


def trade_off(leaving, exits, chosen, unit):
    """Accuracy against cost of leaving early by every threshold, beside exits at which all clips leave.

    Args:
        leaving: costs and accuracies (thresholds,).
        exits: name to costs and accuracies (exits,), at most two.
        chosen: name, cost and accuracy of a threshold, or None.
        unit: of the costs, for their axis.
    """
    figure, axis = _figure(4.6, 3.0)
    axis.plot(*leaving, color=ACCENT, linewidth=1.8, label="leaving early")
    for (name, points), colour, marker in zip(exits.items(), (QUIET, PALETTE[1]), "os", strict=False):
        axis.plot(*points, marker, color=colour, markersize=4, label=name)
    if chosen is not None:
        name, cost, accuracy = chosen
        axis.plot([cost], [accuracy], "*", color=PALETTE[3], markersize=12, markeredgecolor="white", markeredgewidth=0.6, label=name)
    axis.set(xlabel=unit, ylabel="top-1, %", xlim=(0, 1.03 * max(leaving[0])))
    axis.grid(color=QUIET, alpha=0.25, linewidth=0.6)
    _legend(axis)
    return figure


def confusion(matrix, names):
    """Confusion matrix, rows labels and columns predictions; the shade is the share of the row's clips."""
    from matplotlib.colors import to_rgb

    classes = len(names)
    named = classes <= MOST_NAMES
    side = max(2.2, 0.26 * classes + 0.6) + 1.2 if named else 4.4
    figure, axis = _figure(side, side * 0.94)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shade = np.dstack([np.broadcast_to(to_rgb(ACCENT), (classes, classes, 3)), share])
    axis.imshow(shade, interpolation="nearest", aspect="equal")
    axis.set(xlabel="predicted", ylabel="label")
    for spine in axis.spines.values():
        spine.set_visible(True)
    if named:
        short = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names]
        size = 8 if classes <= MOST_NUMBERS else 6.5
        axis.set_xticks(range(classes), short, rotation=90, fontsize=size)
        axis.set_yticks(range(classes), short, fontsize=size)
        axis.tick_params(length=0)
    if classes <= MOST_NUMBERS:
        for row, column in np.argwhere(matrix):
            colour = "white" if share[row, column] > 0.7 else INK
            axis.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=7.5, color=colour)
    return figure


def histogram(counts, names):
    """Clips per class as percent of each split, most frequent in the first split at the top.

    Args:
        counts: split to counts (classes,), at most two splits.
        names: class names.
    """
    shares = {split: 100 * values / max(1, values.sum()) for split, values in counts.items()}
    order = np.argsort(-next(iter(counts.values())), kind="stable")
    return _bars(shares, names, order) if len(names) <= MOST_NAMES else _long_tail(counts, order)


def _bars(shares, names, order):
    figure, axis = _figure(4.5, 0.9 + 0.24 * len(names))
    height = 0.8 / len(shares)
    for position, ((split, values), colour) in enumerate(zip(shares.items(), (QUIET, ACCENT), strict=False)):
        axis.barh(np.arange(len(order)) + position * height, values[order], height, color=colour, label=split, align="edge")
    axis.set_yticks(np.arange(len(order)) + 0.4, [names[number] for number in order], fontsize=8)
    axis.set(xlabel="% of the clips", ylim=(len(order), -0.2))
    axis.tick_params(axis="y", length=0)
    if len(shares) > 1:
        _legend(axis)
    return figure


def _long_tail(counts, order):
    figure, axis = _figure(4.5, 2.8)
    for (split, values), colour, style in zip(counts.items(), (QUIET, ACCENT), ("-", "."), strict=False):
        shown = np.where(values[order] > 0, values[order], np.nan)
        axis.plot(np.arange(1, len(order) + 1), shown, style, color=colour, markersize=3, linewidth=1.6, label=split)
    axis.set(yscale="log", xlabel="classes, most frequent in training first", ylabel="clips")
    axis.tick_params(which="both", colors=INK)
    _legend(axis)
    return figure
