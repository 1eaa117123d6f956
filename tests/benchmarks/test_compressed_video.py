"""What reading motion costs: every contestant runs on both codecs."""

import pathlib

from egokeras.data import video
from egokeras.files import run_file


def test_all_contestants_run(tmp_path):
    module = run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "compressed_video.py")
    module.HEIGHT, module.WIDTH = 48, 64
    for codec in ("mpeg4", "libx264"):
        found = module.measure(video.index(module.render(tmp_path, codec, 26)), 26, 1)
        assert set(found) == set(module.contestants()) and all(rate > 0 for (rate,) in found.values())
    lines = list(module.table({name: [100.0, 300.0, 200.0] if name == "decoding" else [50.0, 100.0, 100.0] for name in found}))
    assert lines[3] == "| decoding to arrays | 100 (50 to 100) | 0.50 (0.33 to 0.50) | 1.00 (1.00 to 1.00) |"
