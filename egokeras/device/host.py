"""What the machine says of itself: processor, governor, clock, temperature; what it does not say is None or absent.

`root` is where the machine's files lie, `/` but in tests.
"""

import importlib.metadata
import os
import pathlib
import platform
import re

ROOT = pathlib.Path("/")
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def host(root=ROOT):
    """What a figure was measured on: processor, cores that this process may use, their governor, system, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(root),
        "cores": cores,
        "governor": text(root / GOVERNOR),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "ai-edge-litert": importlib.metadata.version("ai-edge-litert"),
    }


def state(root=ROOT):
    """What changes under load, as Linux shows it.

    Returns:
        A dict: governor; mhz, of every processor that tells its clock, in their order; temperature_c, thermal zone to degrees Celsius.
    """
    clocks = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    found = [number(file) for file in sorted(clocks, key=by_number)]
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=by_number)
    degrees = {f"{text(zone / 'type')} {zone.name.removeprefix('thermal_zone')}": number(zone / "temp") for zone in zones}
    return {
        "governor": text(root / GOVERNOR),
        "mhz": [round(clock / 1e3) for clock in found if clock is not None],
        "temperature_c": {name: value / 1e3 for name, value in degrees.items() if value is not None},
    }


def text(path):
    """What a file of the system holds; None where there is none, or it may not be read."""
    try:
        return pathlib.Path(path).read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def number(path):
    """The whole number in a file of the system, or None."""
    found = text(path)
    return int(found) if found is not None and re.fullmatch(r"-?\d+", found) else None


def by_number(path):
    """Sorting key: `cpu10` comes after `cpu9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def _processor(root):
    """The board's name where there is one (Jetson, Raspberry Pi), else the processor's."""
    lines = (text(root / "proc/cpuinfo") or "").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return text(root / "proc/device-tree/model") or next(iter(names), None) or platform.processor() or platform.machine()
