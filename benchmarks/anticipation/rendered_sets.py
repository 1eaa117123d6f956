"""What `anticipate_rendered.py` trains on: rendered kitchens, recognisers of their clips, and observations in the features of these."""

import dataclasses

KINDS = ("rgb", "flow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        participants, held_out, videos, seconds: of the rendered world, see `World`.
        frames, pixels: of a clip.
        bound: of the optical flow, pixels.
        recogniser_epochs: of both recognisers.
        units: width of the anticipation models; None is the recipe's.
        epochs: most that an anticipation model may train.
        alphas: shares of the prior to choose from.
        hold_out: share of the training videos that choose.
    """

    participants: int = 10
    held_out: int = 3
    videos: int = 2
    seconds: tuple[float, float] = (60.0, 80.0)
    frames: int = 10
    pixels: int = 64
    bound: float = 8.0
    recogniser_epochs: int = 45
    units: int | None = None
    epochs: int = 100
    alphas: tuple[float, ...] = (0.1, 0.3, 0.6)
    hold_out: float = 0.33


TINY = Sizes(
    participants=3,
    held_out=1,
    videos=1,
    seconds=(12.0, 12.0),
    frames=6,
    pixels=32,
    recogniser_epochs=1,
    units=4,
    epochs=2,
    alphas=(0.3,),
    hold_out=0.5,
)


def prepare_sets(out, sizes):
    """Render, prepare, train the recognisers, compute features and observations: kind to the folder of its set, and their scores."""
    from egokeras.data import readers
    from egokeras.data.synthetic import World

    world = World(participants=sizes.participants, held_out=sizes.held_out, videos_per_participant=sizes.videos, seconds=sizes.seconds)
    folder = world.render(out / "world")
    annotations = readers.read("epic100", [folder])
    made = {kind: _prepare_set(out / kind, kind, annotations, folder / "videos", sizes) for kind in KINDS}
    return {kind: path for kind, (path, _) in made.items()}, {kind: scores for kind, (_, scores) in made.items()}


def _prepare_set(out, kind, annotations, videos, sizes):
    import contextlib

    from egokeras import recipe
    from egokeras.data import feature_files
    from egokeras.data.feature_windows import Features
    from egokeras.data.observe import observe
    from egokeras.data.optical_flow import Flow
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare
    from egokeras.data.transforms import Augment
    from egokeras.recogniser import Recogniser
    from egokeras.video_features import extract

    out.mkdir(exist_ok=True)
    flow = Flow(bound=sizes.bound) if kind == "flow" else None
    prepare(annotations, videos, out / "shards", Preparation(frames=sizes.frames, size=sizes.pixels, flow=flow, windows=0))
    stage, _ = recipe.load("demo")
    augment = Augment(shift=0.1) if flow else stage.data.augment  # light means nothing to motion
    data = dataclasses.replace(stage.data, shards=str(out / "shards"), augment=augment)
    model = dataclasses.replace(stage.model, frames=None, size=None)
    scores = _trained(dataclasses.replace(stage, data=data, model=model, epochs=sizes.recogniser_epochs), out / "run")
    extract(Recogniser.open(out / "run"), videos, out / "features")
    with contextlib.closing(feature_files.open_features(out / "features")) as source:
        observe(annotations, Features(source), out / "set")
    return out / "set", scores


def _trained(stage, run):
    """Train the recogniser, or go on; top-1 of its heads on the unseen participants beside the majority's, in percent."""
    from egokeras import train
    from egokeras.evaluate import evaluate
    from egokeras.files import read_json, write_json

    if not (run / "scores.json").exists():
        run.mkdir(exist_ok=True)
        model = train.fit(stage, run, quiet=True, resume=True)
        metrics, _ = evaluate(model, train.open_shards(stage))
        heads = {head: {"top1": found["top1"], "majority": found["majority"]["top1"]} for head, found in metrics["heads"].items()}
        write_json(run / "scores.json", heads)
    return read_json(run / "scores.json")
