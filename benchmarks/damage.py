"""What becomes of damaged input: is it reported before it is used, and does the intact rest stay as it was?

Renders short videos, damages copies of them (flipped bits, cut ends, swapped files ...), prepares all of them beside the intact
ones, and compares every frame that was not refused with the intact video's. Then it makes shards, damages copies of these, opens
them, reads every clip and runs `egokeras verify`. Last it exports an untrained network, damages copies of the artifacts, opens them and
tests them as `verify` does; each also with checksums made for the damage, where a child process may crash and this one may not. Equal
seeds give equal damage.

A video container has no checksum over its pictures, Matroska apart: a flipped bit that decodes is another picture, and a whole video under
a wrong name is a video. The table counts these as `silent`; given the checksums of the videos, `prepare` must report them too. If not, or
if any other damage is not reported, the exit code is 1.

    python benchmarks/damage.py
    python benchmarks/damage.py --videos 1000 --shards 1000 --seed 1
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile
import time

from damaged.artifacts import ENDS, damaged_artifacts
from damaged.shards import STAGES, damaged_shards
from damaged.videos import MAY_BE_SILENT, RESULTS, SOURCES, damaged_videos, render


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200, metavar="N", help="damaged videos (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=200, metavar="N", help="damaged sets of shards (default: %(default)s)")
    parser.add_argument("--artifacts", type=int, default=200, metavar="N", help="damaged artifacts, twice each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the counts there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(pathlib.Path(folder), args.videos, args.shards, args.artifacts, args.seed)
    print(text(result))
    print(
        "with `prepare --checksums`: every damaged video reported"
        if not any("checksum" in failure for failure in result["failures"])
        else ""
    )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if result["failures"] else 0


def measure(folder, videos, sets, artifacts, seed):
    """Damage and count; returns the counts and, as `failures`, a sentence for everything that should not be."""
    import av

    av.logging.set_level(None)
    sources = {kind: render(folder / "sources", number, kind) for number, kind in enumerate(SOURCES)}
    started = time.monotonic()
    found = damaged_videos(folder, sources, videos, seed)
    found["video_seconds"], started = time.monotonic() - started, time.monotonic()
    shards = damaged_shards(folder, sources, sets, seed)
    shards["shard_seconds"], started = time.monotonic() - started, time.monotonic()
    exported = damaged_artifacts(folder, artifacts, seed) if artifacts else {"artifacts": [], "rehashed": [], "failures": []}
    exported["artifact_seconds"] = time.monotonic() - started
    failures = [*found["failures"], *shards["failures"], *exported["failures"]]
    return {**found, **shards, **exported, "failures": failures}


def text(result):
    """Both tables, and what failed."""
    by_damage, by_kind = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for damage, kind, *numbers in result["videos"]:
        by_damage[damage].update(dict(zip(RESULTS, numbers, strict=True)))
        if damage in MAY_BE_SILENT[:3]:
            by_kind[f"{damage}, {kind}"].update(dict(zip(RESULTS, numbers, strict=True)))
    lines = [*_table("damaged videos", RESULTS, [[name, *map(count.get, RESULTS)] for name, count in by_damage.items()]), ""]
    lines += [*_table("of these, by kind", RESULTS, [[name, *map(count.get, RESULTS)] for name, count in by_kind.items()]), ""]
    lines += [f"{result['intact_videos']} intact videos beside them; worker processes lost: {result['workers_lost']}"]
    lines += [f"{result['video_seconds']:.0f} s; the commonest reasons:"] + [f"  {count:4} {reason}" for reason, count in result["reasons"]]
    lines += ["", *_table("damaged sets of shards", STAGES, result["shards"])]
    lines += [f"{result['shard_seconds']:.0f} s; the slowest set took {result['slowest_set_seconds']:.2f} s", ""]
    lines += [*_table("damaged artifacts", ENDS, result["artifacts"]), ""]
    lines += [*_table("the same, hashed again", ENDS, result["rehashed"]), f"{result['artifact_seconds']:.0f} s", ""]
    return "\n".join([*lines, *result["failures"], f"{len(result['failures'])} failures"])


def _table(title, columns, rows):
    rows = [*rows, ["all", *(sum(row[at] for row in rows) for at in range(1, len(columns) + 1))]]
    yield f"{title:<40}" + "".join(f"{column:>10}" for column in columns)
    yield from (f"  {name:<38}" + "".join(f"{number or 0:>10}" for number in numbers) for name, *numbers in rows)


if __name__ == "__main__":
    sys.exit(main())
