"""Files in trtexec's own format: a right engine passes and is timed, and a wrong one is refused for what is wrong with it."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest

from egokeras import cli
from egokeras.device import selftest, trtexec
from egokeras.device.artifact import Artifact
from egokeras.device.manifest import write_manifest
from egokeras.errors import InputError
from egokeras.files import sha256

CLIPS = np.random.default_rng(0).integers(0, 256, (3, 4, 12, 16, 3), np.uint8)
CLIPS[0, :, :, :, 2] = CLIPS[1, :, :, :, 0] = CLIPS[2, :, :, :, 1] = 255  # every clip has its verb
CLIPS[0, 0] = CLIPS[1, 3] = CLIPS[2, 0] = 255


@pytest.fixture
def bundle(tiny_onnx, tmp_path):
    """The artifact with three clips, their answers and the lines."""
    folder = shutil.copytree(tiny_onnx, tmp_path / "artifact")
    tensors = {f"input_1_{number:02}.bin": clip for number, clip in enumerate(CLIPS)}
    tensors |= {f"{head}s.bin": np.concatenate([clip[head] for clip in answers()]).astype(np.float32) for head in ("verb", "noun")}
    for name, values in tensors.items():
        (folder / name).write_bytes(values.tobytes())
    files = {file.name: {"sha256": sha256(file), "bytes": file.stat().st_size} for file in folder.iterdir() if file.suffix != ".json"}
    pairs = {"count": 3, "inputs": {"rgb": list(tensors)[:3]}, "outputs": {"verb": ["verbs.bin"], "noun": ["nouns.bin"]}}
    pairs["steps"] = {"verb": 0.01, "noun": 0.01}
    manifest = Artifact.open(folder).manifest | {"files": files, "pairs": pairs, "gate": {"limits": {"agreement": 98.0}}}
    write_manifest(folder, manifest)
    trtexec.write(Artifact.open(folder))
    return folder


def export_output(path, tensors):
    """As `exportJSONOutput` of sampleReporting.cpp: six digits, and C++'s own nan."""
    items = []
    for name, values in tensors.items():
        dimensions = "x".join(map(str, values.shape))
        numbers = " , ".join(f"{value:.6g}" for value in values.ravel())
        items.append(f'{{ "name" : "{name}"\n  , "dimensions" : "{dimensions}"\n  , "values" : [ {numbers} ]\n  }}\n')
    path.write_text("[\n  " + ", ".join(items) + "]\n")
    return str(path)


def export_times(path, milliseconds, start=0.0):
    """As `exportJSONTrace`: one query every 10 ms."""
    rows = [
        f'{{ "startEnqMs" : {start + 10 * n} , "endEnqMs" : {start + 10 * n + 1} , "startComputeMs" : {start + 10 * n} '
        f', "computeMs" : {value - 0.2} , "latencyMs" : {value} , "endToEndMs" : {value} }}\n'
        for n, value in enumerate(milliseconds)
    ]
    path.write_text("[\n  " + ", ".join(rows) + "]\n")
    return str(path)


def answers():
    """The network, worked out by hand: for each clip head to (1, classes)."""
    verbs, nouns = CLIPS.mean((1, 2, 3)) / 16, CLIPS[:, [0, 3]].mean((2, 3, 4)) / 16
    return [{"verb": verb[None], "noun": noun[None]} for verb, noun in zip(verbs, nouns, strict=True)]


def outputs(folder, found):
    return [export_output(folder / f"fp16.output_{number:02}.json", tensors) for number, tensors in enumerate(found)]


def test_every_line_names_files_that_are_there(bundle):
    lines = [line for line in (bundle / "trtexec.txt").read_text().splitlines() if line.startswith("trtexec ")]
    assert len(lines) == 2 * len(CLIPS)
    assert shlex.split(lines[0]) == [
        "trtexec", "--onnx=model.onnx", "--fp16", "--saveEngine=fp16.engine", "--loadInputs=rgb:input_1_00.bin",
        "--exportOutput=fp16.output_00.json", "--warmUp=200", "--exportTimes=fp16.times.json",
    ]  # fmt: skip
    assert "--loadEngine=fp16_sparse.engine --loadInputs=rgb:input_1_02.bin --exportOutput=fp16_sparse.output_02.json" in lines[-1]
    assert "--sparsity=enable" in lines[3] and not any("--int8" in line for line in lines)
    for line in lines:
        assert all((bundle / name).is_file() for name in re.findall(r"rgb:(\S+)", line))


def test_int8_is_asked_of_quantized_files_alone(bundle):
    artifact = Artifact.open(bundle)
    artifact.manifest["quantization"] = "int8"
    lines = [line for line in trtexec._lines(artifact) if "--onnx" in line]
    assert [("--int8" in line, "--sparsity=enable" in line) for line in lines] == [(True, False), (True, True)]
    artifact.manifest["quantization"] = "mixed"
    assert not trtexec.fits(artifact)


def test_a_right_engine_passes_and_its_times_are_kept(bundle, tmp_path, capsys):
    files = outputs(tmp_path, [{head: logits + 0.001 for head, logits in clip.items()} for clip in answers()])
    times = export_times(tmp_path / "fp16.times.json", [50.0] * 20 + list(np.arange(1.0, 102.0)))  # 200 ms of warm-up
    assert cli.main(["verify", str(bundle), "--trtexec", *files, times]) == 0
    printed = capsys.readouterr().out
    assert (
        "verb: 100.0% of 3 clips agree, by up to 0.001 apart" in printed
        and "p50 51.00 ms, p90 91.00 ms, p95 96.00 ms, p99 100.00 ms" in printed
    )
    (record,) = json.loads((bundle / "latency.json").read_text())
    (row,) = record["results"]
    assert record["host"]["processor"] and record["host"]["runtime"].startswith("TensorRT") and row["artifact"] == "tiny fp16"
    assert (row["runs"], row["p50_ms"], row["p90_ms"], row["p95_ms"], row["p99_ms"], row["mean_ms"]) == (101, 51, 91, 96, 100, 51)
    again = export_times(tmp_path / "fp16.times.json", [7.0], start=500)
    other = export_times(tmp_path / "int8.times.json", [3.0], start=500)
    assert cli.main(["verify", str(bundle), "--trtexec", files[0], again, other, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["heads"]["verb"]["clips"] == 1
    (record,) = json.loads((bundle / "latency.json").read_text())
    assert [(row["artifact"], row["p50_ms"]) for row in record["results"]] == [("tiny fp16", 7), ("tiny int8", 3)]
    assert selftest.replay(Artifact.open(bundle)).sentence.startswith(f"{bundle}: onnxruntime ")


WRONG = [
    (lambda clip: {**clip, "verb": clip["verb"][:, ::-1]}, "verb agrees on"),
    (lambda clip: {**clip, "noun": clip["noun"] + 3}, r"noun has a logit that differs by 3, 19% of the largest \(limit 10%\)"),
    (lambda clip: {**clip, "noun": clip["noun"] * [[np.nan, 1]]}, "noun has answers that are not numbers"),
    (lambda clip: {**clip, "noun": clip["noun"] * [[-np.inf, 1]]}, "noun has answers that are not numbers"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_engine_fails_and_is_not_timed(bundle, tmp_path, capsys, change, said):
    files = outputs(tmp_path, map(change, answers()))
    assert cli.main(["verify", str(bundle), "--trtexec", *files, export_times(tmp_path / "t.json", [7.0], start=500)]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not (bundle / "latency.json").exists()


def test_files_of_another_clip_or_model_are_refused(bundle, tmp_path):
    artifact, right = Artifact.open(bundle), answers()
    swapped, _ = trtexec.read(outputs(tmp_path, right[::-1]))
    assert any("agrees on" in phrase for phrase in trtexec.failures(artifact, trtexec.judge(artifact, swapped)))
    for found, said in (
        ([{"verb": right[0]["verb"]}], r"has verb 1x3, .* gives noun 1x2, verb 1x3; build the engine of this artifact"),
        ([{**right[0], "noun": np.zeros((1, 3))}], "has noun 1x3, verb 1x3"),
        ([], "has 3 clips, there are 0 files"),
        (right + right, "has 3 clips, there are 6 files"),
    ):
        with pytest.raises(InputError, match=said):
            trtexec.judge(artifact, trtexec.read(outputs(tmp_path, found))[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not valid JSON"),
        ("{}", "is not what trtexec's"),
        ("[]", "is not what trtexec's"),
        ('[{"name": "verb", "dimensions": "1x3", "values": [1, 2]}]', "does not have the values of its dimensions '1x3'"),
        ('[{"name": "verb", "dimensions": 3, "values": [1, 2, 3]}]', "does not have the values of its dimensions 3"),
        ('[{"startComputeMs": 5, "latencyMs": 2}]', "no times behind the warm-up of 200 ms"),
        ('[{"startComputeMs": 500, "latencyMs": nan}]', "no times behind the warm-up"),
        ('[{"startComputeMs": "x", "latencyMs": 2}]', "no times behind the warm-up"),
    ],
)
def test_other_files_are_named(tmp_path, content, said):
    (tmp_path / "out.json").write_text(content)
    with pytest.raises(InputError, match=r"out\.json.*" + said):
        trtexec.read([tmp_path / "out.json"])
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        trtexec.read([tmp_path / "none.json"])


def test_an_artifact_without_answers_is_refused(tiny, tiny_onnx, tmp_path):
    for artifact in (tiny, tiny_onnx):
        with pytest.raises(InputError, match="has no answers for trtexec; export its run with onnx or onnx_int8"):
            trtexec.judge(Artifact.open(artifact), [(tmp_path, {})])
