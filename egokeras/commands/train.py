"""`egokeras train`: a recipe; the whole road on one's own clips; or, without arguments, the demo on rendered videos."""

import argparse
import contextlib
import dataclasses
import importlib.util
import pathlib
import shutil
import sys
import time
from collections.abc import Sequence

EXAMPLE = """egokeras train report_convnet1d data.shards=epic100_shards optim.learning_rate=5e-4
         egokeras train anticipation_labels data.shards=sets/labels --seeds 5 method.alpha=0.1,0.3,0.5     (a grid; again: goes on)
         egokeras train --videos my_clips        (a folder per class; ends in a file for the device and a page)
         egokeras train                          (the demo)"""
TENSORFLOW = True
RESUMES = True
QUARANTINED = 3
RESULTS = ("metrics.json", "predictions.npz", "train_predictions.npz", "latency.json", "report.html")


def add_arguments(parser):
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="name or path of a recipe (`egokeras list`)")
    parser.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        help="fields to change, for example data.shards=FOLDER epochs=10; several values with commas between them make a grid",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="train with N seeds, that of the recipe (0) and those that follow it")
    parser.add_argument("--videos", metavar="FOLDER", help="a folder of videos per class: prepare, train, export, measure, report")
    parser.add_argument("--annotations", metavar="FILE", help="with --videos: a table with file and label columns instead of class folders")
    parser.add_argument("--group", metavar="REGEX", help="with --videos: the part of a file name that says which clips belong together")
    parser.add_argument("--frames", type=int, metavar="N", help="with --videos: frames per clip (default 20)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="with --videos: height and width of a frame (default 224)")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where run folders go (default: runs)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the last run of that name, bit for bit; only paths may change, and epochs grow"
    )
    parser.add_argument("--snapshot-seconds", type=float, default=50, metavar="S", help="time between two snapshots (default 50)")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="share every batch among N GPUs (with --cpu: virtual devices)")
    parser.add_argument("--cpu", action="store_true", help="train on the CPU although there is a GPU")
    parser.add_argument("--accept-untested", action="store_true", help="keep exports that the clips are too few to judge")


def run(args):
    from egokeras import experiments, export, train
    from egokeras.errors import InputError

    if args.recipe and "=" in args.recipe:  # `egokeras train epochs=3` changes the demo, or own_clips with --videos
        args.recipe, args.changes = None, [args.recipe, *args.changes]
    name = args.recipe or ("own_clips" if args.videos else "demo")
    if args.videos is None and (args.annotations or args.group):
        raise InputError("--annotations and --group go with --videos FOLDER; for a recipe on other data use `egokeras prepare` first.")
    experiment = experiments.plan(name, args.changes, args.seeds)
    stages = experiment.trainings[0].stages
    for stage in (stage for training in experiment.trainings for stage in training.stages):
        for export_name in stage.exports:
            export.load(export_name)  # a misspelt one shows now, not after the training
        train.check_conduct(stage, args.snapshot_seconds, args.devices)
    if experiment.is_grid:
        if args.videos or (name == "demo" and not stages[-1].data.shards):
            raise InputError(
                f"{'--videos' if args.videos else 'the demo'} trains once; for seeds or a grid give a RECIPE and data.shards=FOLDER."
            )
        return _grid(args, experiment)
    road = _Road(args, stages, pathlib.Path(args.runs) / stages[-1].name)
    with road.kept_as_it_was():
        if args.videos:
            return road.own_clips()
        if name == "demo" and not stages[-1].data.shards:
            return road.demo()
        return road.recipe()


def _grid(args, experiment):
    """Every training of the experiment that is not finished, then the table of all."""
    import keras

    from egokeras import experiments
    from egokeras.commands.compare import lines
    from egokeras.comparison import compare

    folder = experiments.place(experiment.trainings[0].stages[-1].name, args.runs)
    resuming = argparse.Namespace(**{**vars(args), "resume": True})

    def train(training, run_dir):
        keras.utils.clear_session()  # of the training before
        road = _Road(resuming, training.stages, run_dir, in_grid=True)
        with road.kept_as_it_was():
            road.recipe()

    print(f"{len(experiment.trainings)} trainings in {folder}")
    experiments.carry_out(experiment, folder, train)
    print("\n".join(["", *lines(compare([folder]))]))
    print(f"next: egokeras compare {folder} --page {folder / 'comparison.html'}")


@dataclasses.dataclass
class _Road:
    """What was asked for, on the way from data to what can be had of it."""

    args: argparse.Namespace
    stages: tuple
    run_dir: pathlib.Path
    was_finished: bool = False
    snapshots: Sequence = ()
    in_grid: bool = False

    @property
    def folders(self):
        """Of the stages: the run folder, or one folder each in it if there are several."""
        return [self.run_dir if len(self.stages) == 1 else self.run_dir / stage.name for stage in self.stages]

    def _snapshots(self):
        return sorted(self.run_dir.glob("**/snapshots/*.npz"))

    @contextlib.contextmanager
    def kept_as_it_was(self):
        """A finished run that could not be gone on with is not left unfinished."""
        from egokeras.files import finish_folder

        try:
            yield
        except BaseException:
            if self.was_finished and self._snapshots() == self.snapshots:
                finish_folder(self.run_dir)
            raise

    def recipe(self):
        """Train and score; the rest of the road stands at the end of the output."""
        from egokeras.files import finish_folder
        from egokeras.train import open_shards

        sets = [open_shards(stage) for stage in self.stages]  # a mistake in the data shows before there is a run folder
        self._claim()
        self._train()
        _report(self.run_dir, self.folders)
        finish_folder(self.run_dir)
        if self.in_grid:
            return
        if sets[-1].channels in ("RGB", None):  # no artifact takes clips of flow in the place of RGB
            print(f"next: egokeras export {self.folders[-1]} {'anticipation_step' if 'observations' in sets[-1].index else 'int8'}")

    def own_clips(self):
        """All of it on one's own clips."""
        from egokeras.data import readers

        args = self.args
        name, annotations = ("table", args.annotations) if args.annotations else ("folders", args.videos)
        found = readers.read(name, [pathlib.Path(annotations)], args.group)
        settings = {"frames": 20 if args.frames is None else args.frames, "size": 224 if args.size is None else args.size}
        self.stages[0].model.build(classes={"action": 2}, **settings)  # weights that are missing show now, not after hours of decoding
        self._claim()
        return self._whole(found, args.videos, settings, _check_classes)

    def demo(self):
        """All of it on rendered videos."""
        from egokeras.data import readers
        from egokeras.data.synthetic import World

        self._claim()
        with _step("render a small kitchen world"):
            world = World.demo().render(self.run_dir / "world")
        found = readers.read("epic100", [world])
        settings = {"frames": self.stages[0].model.frames, "size": self.stages[0].model.size}
        self.args.accept_untested = True  # its few videos may leave the gate without an answer; the file is then marked `untested`
        return self._whole(found, world / "videos", settings)

    def _whole(self, annotations, videos, settings, check=lambda stages: None):
        """From videos to artifacts, their latency and the page; 1 if an export was refused, 3 if videos were quarantined."""
        from egokeras import recipe
        from egokeras.commands.prepare import lines
        from egokeras.data.preparation import Preparation
        from egokeras.data.prepare import prepare
        from egokeras.files import finish_folder

        with _step("prepare"):
            summary = prepare(annotations, videos, self.run_dir / "shards", Preparation(**settings))
            print("\n".join(lines(summary)))
        self.stages = recipe.override(self.stages, f"data.shards={self.run_dir / 'shards'}")
        check(self.stages)
        self._train()
        exports = self.stages[-1].exports
        refused = _export(exports, self.folders[-1], self.args.accept_untested) if exports else 0
        _report(self.run_dir, self.folders)
        finish_folder(self.run_dir)
        return 1 if refused else QUARANTINED if summary["quarantined"] else 0

    def _claim(self):
        """A folder for the run: the newest of its name to go on in, or a new one, or one left unfinished before its training began."""
        from egokeras.files import claim_folder, reclaim_folder, take_folder
        from egokeras.run_folders import is_free, is_run

        if self.in_grid:
            self.was_finished = take_folder(self.run_dir)
            self.snapshots = self._snapshots()
            return
        found = reclaim_folder(self.run_dir, is_run) if self.args.resume else None
        if found is not None:
            self.run_dir, self.was_finished = found
        else:
            if self.args.resume:
                print(f"{self.run_dir} does not exist, so there is nothing to resume: from the beginning")
            self.run_dir = claim_folder(self.run_dir, free=is_free)
        self.snapshots = self._snapshots()
        print(f"run folder: {self.run_dir}")

    def _train(self):
        from egokeras import accelerator, resumption, train

        args = self.args
        how = {"resume": args.resume, "snapshot_seconds": args.snapshot_seconds, "strategy": accelerator.strategy(args.devices)}
        if args.resume:
            for stage, folder in zip(self.stages, self.folders, strict=True):
                resumption.check(stage, train.open_shards(stage), folder)
        for stage, folder in zip(self.stages, self.folders, strict=True):
            folder.mkdir(exist_ok=True)
            self._train_stage(stage, folder, how)

    def _train_stage(self, stage, folder, how):
        """Train and score; results of another model give way, but not before the new one is there."""
        from egokeras import snapshots, train

        before = snapshots.names(folder / snapshots.FOLDER)
        with _step(f"train {stage.name}"):
            model = train.fit(stage, folder, **how)
        if self.was_finished and snapshots.names(folder / snapshots.FOLDER) == before:
            print(f"{folder}: its training was complete; nothing to do")
            return
        if (folder / "exports").exists():
            print(f"{folder / 'exports'} is of the model before and gives way; egokeras export makes it anew")
            shutil.rmtree(folder / "exports")
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        with _step("evaluate"):
            _evaluate(model, stage, folder, how)


def _check_classes(stages):
    """With one's own clips a class without a training clip is a mistake, or was lost to quarantine: no score would be what it seems."""
    from egokeras.errors import InputError
    from egokeras.train import class_counts, open_shards

    shards = open_shards(stages[-1])
    trained, _ = stages[-1].data.rows(shards)
    for space in class_counts(stages[-1], shards):
        labels = set(shards.labels(space, trained).tolist())
        absent = [name for number, name in enumerate(shards.classes[space]) if number not in labels]
        if absent:
            found = f"{space} {', '.join(map(repr, absent[:5]))} has no training clip"
            raise InputError(f"{shards.path}: {found}; see quarantine.csv there, then repair the videos or leave the class out.")


def _evaluate(model, stage, folder, how):
    from egokeras import evaluate, train
    from egokeras.commands.evaluate import lines

    shards = train.open_shards(stage)
    train_rows, held_out = stage.data.judged(shards)
    if not len(held_out):
        print(f"no clips in split {stage.data.test or stage.data.validation!r}: nothing to score; hold some out with data.hold_out=0.2")
        return
    metrics, predictions = evaluate.evaluate_rows(model, shards, held_out, train_rows)
    metrics = {"split": stage.data.held_out, **metrics}
    folds = [evaluate.evaluate_rows(*fold) for fold in train.folds(stage, folder, **how)]
    unseen = None
    if folds:
        metrics["folds"] = evaluate.summarise_folds([scores for scores, _ in folds])
        unseen = evaluate.joined([found for _, found in folds], predictions)
    evaluate.write(folder, metrics, predictions, unseen)
    train.forget_folds(folder)
    print("\n".join(lines(metrics)))


def _export(names, run_dir, accept_untested):
    """Ship what passes the gate and measure it; returns how many were refused."""
    from egokeras import export
    from egokeras.commands.export import lines
    from egokeras.device import latency, tables
    from egokeras.files import write_json

    with _step("export " + ", ".join(names)):
        shipments = export.ship_all([export.load(name) for name in names], run_dir, accept_untested=accept_untested)
        print("\n".join(line for shipment in shipments for line in lines(shipment)))
    shipped = [shipment.path for shipment in shipments if shipment.path is not None]
    for shipment in shipments:
        if shipment.path is None:
            print(f"refused: {shipment.reason}", file=sys.stderr)
    if shipped:
        with _step("measure on this machine"):
            record = latency.record([latency.measure(path, threads, 2.0) for path in shipped for threads in (1, 2)])
            write_json(run_dir / "latency.json", record)
            print(tables.text([record]))
    return len(shipments) - len(shipped)


def _report(run_dir, folders):
    """A page for each stage, and one that sets them side by side."""
    if importlib.util.find_spec("matplotlib") is None:
        print(f"no page: install matplotlib (pip install egokeras[report]), then egokeras report {run_dir}")
        return
    from egokeras import report
    from egokeras.comparison import compare
    from egokeras.errors import InputError
    from egokeras.report import comparison

    for folder in folders:
        print(f"page: {report.write(folder)}")
    if len(folders) > 1:
        with contextlib.suppress(InputError):  # stages that were judged on different clips, or not at all
            comparison.write(run_dir / "report.html", compare(folders))
            print(f"page: {run_dir / 'report.html'}")


@contextlib.contextmanager
def _step(name):
    """Say what begins, and how long it took."""
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    yield
    print(f"   {time.monotonic() - started:.0f} s", flush=True)
