"""The official splits of the datasets of action recognition, as the arguments of a recipe's `Data`."""

from egokeras.errors import InputError

CLASSES = {"ucf101": 101, "hmdb51": 51, "kinetics400": 400}
HELD_OUT = 0.1  # of the training clips: a schedule or a teacher that looked at the test split would make its score look better


def official(dataset, split=1):
    """Fields of `Data` for a dataset that is prepared: a tenth of the training clips is looked at, the official other split judges.

    Args:
        dataset: `ucf101` or `hmdb51` with `split` 1 to 3, `kinetics400`, or `own`: what `egokeras prepare` called train and validation.
        split: number of the official split.

    Raises:
        InputError: another dataset or split.
    """
    if dataset == "own":
        return {}
    if dataset not in CLASSES or split not in (1, 2, 3):
        known = ", ".join(CLASSES)
        raise InputError(f"dataset is {dataset!r}, split {split}; give {known} or own, and of UCF-101 and HMDB-51 a split from 1 to 3.")
    train, test = ("train", "validation") if dataset == "kinetics400" else (f"train{split}", f"test{split}")
    return {"train": train, "test": test, "hold_out": HELD_OUT, "classes": {"action": CLASSES[dataset]}}
