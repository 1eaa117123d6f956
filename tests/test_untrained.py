"""Models before any training: files at the recipe's sizes that the runtime takes, for clips and for streams."""

import av
import pytest
from ai_edge_litert.interpreter import Interpreter

import egokeras
from egokeras import recipe, untrained
from egokeras.models import FrameModel, SmallBackbone
from egokeras.models.anticipation import AnticipationLSTM


def details(path):
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    kinds = [{name: ([*map(int, item["shape"])], item["dtype"].__name__) for name, item in found.items()} for found in
             (runner.get_input_details(), runner.get_output_details())]  # fmt: skip
    return kinds


def test_clips_at_the_sizes_of_the_recipe(tmp_path):
    model = FrameModel(frames=3, size=32, backbone=SmallBackbone())
    stage = recipe.Recipe(name="small", data=recipe.Data(classes={"verb": 5, "noun": 7}), model=model)
    files, assumed = untrained.write_tflite(stage, tmp_path)
    assert [file.name for file in files] == ["small-float32.tflite", "small-int8.tflite"] and assumed == []
    for file in files:
        assert details(file) == [{"rgb": ([1, 3, 32, 32, 3], "uint8")}, {"verb": ([1, 5], "float32"), "noun": ([1, 7], "float32")}]
    assert files[1].stat().st_size < files[0].stat().st_size / 2


def test_a_stream_has_its_state_and_no_int8(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(untrained, "convert", lambda job: asked.extend(job) or [])
    model = AnticipationLSTM(units=8)
    stage = recipe.Recipe(name="stream", data=recipe.Data(classes={"action": 9}, heads=("action",)), model=model)
    files, assumed = untrained.write_tflite(stage, tmp_path, ("int8",))
    (conversion,) = asked
    assert files == [tmp_path / "stream-dynamic_range.tflite"] and "rgb_features of 14 x 1024" in assumed
    assert (conversion.kind, conversion.file, conversion.calibration) == ("dynamic_range", str(files[0]), None)
    assert set(conversion.outputs) == {"action", "rgb_features_h", "rgb_features_c"}
    assert egokeras.load_model(conversion.model).output["action"].shape == (None, 8, 9)


def test_the_video_has_the_rate_and_size_that_were_asked_for(tmp_path, monkeypatch):
    path = untrained.write_video(tmp_path / "kitchen.mp4", 15.0, 48, 64)
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert (stream.height, stream.width, float(stream.average_rate)) == (48, 64, 15)
        assert stream.frames == pytest.approx(15 * untrained.VIDEO_SECONDS, abs=1)
