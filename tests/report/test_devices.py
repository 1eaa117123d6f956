"""The page about several machines: all figures, every row with its processor, nothing that a name could break."""

import html.parser

import pytest

from egokeras.report import devices

HOSTILE = "Board</h1><script>alert(1)</script>"
FIGURES = {"bytes": 2_720_696, "threads": 1, "runs": 20, "load_ms": 1.0, "first_ms": 8.0, "p50_ms": 3.76, "p90_ms": 4.0, "p95_ms": 4.5}
NOTHING = {"governor": None, "mhz": [], "temperature_c": {}}
TIMES = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "cold_start_ms"), 7.5)
STREAM = {"seconds": 60.0, "fps": 30.0, "stride": None, "frames": 1800, "missed": 0.125, "answers": 1800, "drift": 1.3, **TIMES}
STREAM |= {"before": NOTHING, "after": NOTHING, "stages": {"model": {"p50_ms": 7.0, "p95_ms": 8.0}}}


def record(processor, **stream):
    host = {"processor": processor, "cores": 4, "governor": "schedutil", "system": "Linux 6 aarch64", "ai-edge-litert": "2.3.0"}
    result = {"artifact": "int8", "path": "p", **FIGURES, "mean_ms": 4.0, "peak_memory_mb": 12.0}
    return {"host": host, "results": [result | ({"sustained": STREAM | stream} if stream else {})]}


class Page(html.parser.HTMLParser):
    """Tags, and tables as lists of rows of texts."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.tables, self.in_cell = [], [], False
        self.feed(content)

    def handle_starttag(self, tag, _):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture
def written(tmp_path):
    rail = {"VDD_IN": {"joules": 300.0, "watts": 5.0, "idle_watts": None, "mj_per_inference": 166.6667}}
    devices.write(tmp_path / "page.html", [record(HOSTILE, energy=rail), record("Desk")])
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_every_row_names_its_processor(written):
    latency, stream, parts, energy = Page(written).tables
    assert [row[1] for row in latency] == ["processor", HOSTILE, "Desk"]
    assert latency[1] == ["int8", HOSTILE, "1", "2.72", "1.00", "8.00", "3.76", "4.00", "4.50", "4.00", "12.0"]
    found = dict(zip(stream[0] + parts[0], stream[1] + parts[1], strict=True))
    assert (found["missed %"], found["drift"], found["mJ"], found["processor"]) == ("12.5", "1.30", "166.7", HOSTILE)
    assert energy[1:] == [["int8", HOSTILE, "1", "VDD_IN", "300.00", "5.00", "-", "166.67"]]


def test_it_fetches_nothing_and_runs_nothing(written):
    assert not {"script", "link", "img"} & set(Page(written).tags)


def test_without_a_stream_there_is_one_table():
    assert len(Page(devices.render([record("A")])).tables) == 1
