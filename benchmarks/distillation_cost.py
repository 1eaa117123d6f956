"""What a step of each method costs beside a supervised step on the same net.

    python benchmarks/distillation_cost.py

Blocks of steps on a 3D ResNet-18 take turns; a ratio is a block over the supervised block of the same turn, in wall time and in CPU time
of the process (which stays true where other work runs); shown are median and range. SKD-SRL sees two views, so its fair price is two
supervised steps; it is given once with a call per view and once with both views in one batch, whose statistics BatchNorm then shares. The
last columns are what is kept: parameters and bytes of the student's file, the same for all.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

WARM = 3  # steps that are not counted


def methods(student):
    """Name to method and views."""
    from egokeras.distill import SKDSRL, SelfDistillation, SoftTargets, Supervised

    return {
        "supervised": Supervised(),
        "KD, teacher of the same size": SoftTargets(teacher=student()),
        "Self-KD": SelfDistillation(),
        "SKD-SRL, a call per view": SKDSRL(),
        "SKD-SRL, one call": SKDSRL(one_call=True),
    }


def prepare(width, frames, size, batch):
    """Name to (function of no arguments that takes a step, the student)."""
    import keras
    import numpy as np
    import tensorflow as tf

    from egokeras.distill import Distiller
    from egokeras.models import ResNet3D

    def student():
        keras.utils.set_random_seed(0)
        return ResNet3D(width=width).build(classes={"action": 51}, frames=frames, size=size)

    random, made = np.random.default_rng(0), {}
    targets = {"action": tf.constant(random.integers(0, 51, batch), tf.int32)}
    for name, method in methods(student).items():
        shape = (batch, *([method.views] if hasattr(method, "views") else []), frames, size, size, 3)
        inputs = {"rgb": tf.constant(random.integers(0, 256, shape), tf.uint8)}
        distiller = Distiller(student(), method)
        distiller.compile(keras.optimizers.SGD(0.01, momentum=0.9))
        distiller.build_trackers(["loss", "action_top1", "action_top5"])
        step = tf.function(distiller.train_step)
        made[name] = (lambda step=step, inputs=inputs: step((inputs, targets)), distiller.student)
    return made


def measure(made, rounds, steps):
    """Name to the wall and CPU seconds of a step in each round."""
    for step, _ in made.values():
        for _ in range(WARM):
            step()
    found = {name: [] for name in made}
    for _ in range(rounds):
        for name, (step, _) in made.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                float(step()["loss"])
            found[name].append(((time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps))
    return found


def table(found, students):
    """Lines."""
    supervised = found["supervised"]
    yield "| step | wall s | wall, of a supervised step | CPU, of a supervised step | of two | parameters | bytes |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, times in found.items():
        wall, cpu = ([own[kind] / other[kind] for own, other in zip(times, supervised, strict=True)] for kind in (0, 1))
        halves = f"{statistics.median(cpu) / 2:.2f}" if name.startswith("SKD") else ""
        parameters, size = students[name]
        seconds = f"{statistics.median(one for one, _ in times):.3f}"
        yield f"| {name} | {seconds} | {_spread(wall)} | {_spread(cpu)} | {halves} | {parameters:,} | {size:,} |"


def _spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def kept(made):
    """Name to parameters and bytes of the saved student."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, student) in made.items():
            file = pathlib.Path(folder) / "student.keras"
            student.save(file)
            found[name] = (student.count_params(), file.stat().st_size)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="turns (%(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="in a block (%(default)s)")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage (%(default)s)")
    parser.add_argument("--frames", type=int, default=8, help="of a clip (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="pixels (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="clips (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the seconds there too")
    args = parser.parse_args()

    from egokeras import accelerator

    accelerator.start(cpu=True)
    made = prepare(args.width, args.frames, args.size, args.batch)
    found = measure(made, args.rounds, args.steps)
    print("\n".join(table(found, kept(made))))
    if args.json:
        args.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
