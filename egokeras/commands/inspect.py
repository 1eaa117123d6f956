"""`egokeras inspect`: what a video file is, and a sheet of some of its frames with their motion."""

import importlib.util
import json
import pathlib

from egokeras.errors import InputError, plain

EXAMPLE = "egokeras inspect kitchen.mp4 --at 2 4.5"


def add_arguments(parser):
    parser.add_argument("video", type=pathlib.Path, metavar="VIDEO", help="video file")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--at", type=float, nargs="+", default=(), metavar="S", help="show the frames at these seconds")
    chosen.add_argument("--frames", type=int, default=5, metavar="N", help="show N frames, evenly from the stretch (%(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        nargs=2,
        metavar=("START", "STOP"),
        help="stretch of which every frame is decoded (default: all of a video of up to a minute, a minute of a longer one)",
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="PNG", help="the sheet (default: the video's name with _sheet.png, here)")
    parser.add_argument("--json", action="store_true", help="print what the file is as JSON")


def run(args):
    out = args.out or pathlib.Path(f"{args.video.stem}_sheet.png")
    _check(out)
    from egokeras import sheet
    from egokeras.data.inspection import Wanted, inspect

    stretch = tuple(args.seconds) if args.seconds else None
    found = inspect(args.video, Wanted(at=tuple(args.at), frames=args.frames, stretch=stretch))
    summary = summarise(found)
    said = list(lines(summary))
    sheet.save(out, sheet.draw(found, args.video.name, said))
    if args.json:
        print(json.dumps({**summary, "sheet": str(out)}, indent=1))
    else:
        print("\n".join([f"{plain(str(args.video))}:", *(f"  {line}" for line in said), f"{plain(str(out))}: {len(found.views)} frames"]))


def _check(out):
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("the sheet needs matplotlib, which is not installed: pip install egokeras[report].")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: the name must end in .png.")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist; make it first.")


def summarise(inspection):
    """What is printed, as a dict."""
    file = inspection.file
    return {
        "container": file.container,
        "codec": file.codec,
        "profile": file.profile,
        "width": file.width,
        "height": file.height,
        "turned": 90 * file.turns,
        "fps": round(file.fps, 3),
        "steps": [round(step, 6) for step in file.steps],
        "frames": file.frames,
        "seconds": round(file.seconds, 3),
        "stretch": [round(float(inspection.seconds[at]), 3) for at in (0, -1)],
        "types": inspection.types,
        "gops": inspection.gops,
        "broken": [[round(second, 3) for second in span] for span in inspection.broken],
        "untold": file.untold,
        "shown": [
            {"seconds": round(view.seconds, 3), "frame": view.number, "type": view.kind, "whole": view.whole} for view in inspection.views
        ],
    }


def lines(summary):
    """The summary in words."""
    yield _file(summary)
    yield _frames(summary)
    untold, broken = summary["untold"], summary["broken"]
    yield f"its motion vectors cannot be used: {untold}" if untold else "it tells its motion vectors"
    anew = "has to encode it anew, as MPEG-4 with a whole picture in every 12 frames" if untold else "takes motion and residuals from it"
    yield f"prepare reads it; prepare --modality compressed {anew}"
    if broken:
        spans = ", ".join(f"{start:g} to {stop:g} s" for start, stop in broken[:3]) + (" ..." if len(broken) > 3 else "")
        whole = ", with --modality compressed all of its clips" if untold else ""
        yield f"damaged: {summary['types']['broken']} frames cannot be had ({spans}): clips that need them go to quarantine{whole}"


def _file(summary):
    shortest, longest = summary["steps"]
    uneven = f", {1000 * shortest:.0f} to {1000 * longest:.0f} ms apart" if longest > 1.5 * shortest else ""
    turned = f", turned by {summary['turned']} degrees" if summary["turned"] else ""
    codec = f"{summary['codec']} ({summary['profile']})" if summary["profile"] else summary["codec"]
    return (
        f"{codec} in {summary['container']}, {summary['width']}x{summary['height']}{turned}, "
        f"{summary['fps']:g} frames a second{uneven}, {summary['frames']} frames, {summary['seconds']:.2f} s"
    )


def _frames(summary):
    count, gops = sum(summary["types"].values()), summary["gops"]
    part = "" if count == summary["frames"] else ", from {:.2f} to {:.2f} s".format(*summary["stretch"])
    shares = ", ".join(f"{number} {kind} ({100 * number / count:.0f} %)" for kind, number in summary["types"].items())
    if not gops:
        return f"{count} frames decoded{part}: {shares}; {'one group of pictures' if 'I' in summary['types'] else 'no whole picture'}"
    most = str(gops[0]) if min(gops) == max(gops) else f"{min(gops)} to {max(gops)}"
    return f"{count} frames decoded{part}: {shares}; groups of {most} pictures"
