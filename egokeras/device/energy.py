"""Energy from the counters that Linux shows: RAPL of a processor, INA3221 of a Jetson; where there are none, nothing is said.

RAPL counts microjoules (readable by root alone on most systems); an INA3221 tells the voltage and current of up to three rails, which
are integrated over time. All of a rail or package is counted, at rest too.
"""

import functools
import threading
import time

from egokeras.device.host import ROOT, by_number, number, text

SECONDS = 0.2  # between two readings


class Meter:
    """Counts joules while it is entered: `with Meter() as meter: ...`, then `meter.joules` and `meter.seconds`.

    Attributes:
        joules: name of the rail or package to joules; empty where the machine tells none.
        seconds: how long it was entered.
    """

    def __init__(self, root=ROOT, clock=time.monotonic):
        self._clock = clock
        self._sources = dict([*_packages(root), *_rails(root, clock)])
        self.joules: dict[str, float] = {}
        self.seconds = 0.0

    def __enter__(self):
        self._started = self._clock()
        for since in self._sources.values():
            since()
        self.joules = dict.fromkeys(self._sources, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self._sources:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        if self._sources:
            self._thread.join()
        self.read()
        self.seconds = self._clock() - self._started

    def _watch(self):
        while not self._over.wait(SECONDS):
            self.read()

    def read(self):
        """Add what was used since the last reading; a source that stops to tell is dropped."""
        for name, since in self._sources.items():
            used = since()
            if used is None:
                self.joules.pop(name, None)
            elif name in self.joules:
                self.joules[name] += used


def _packages(root):
    """RAPL's domains by name, each as a function that says how many joules it used since the last call."""
    folders = sorted((root / "sys/class/powercap").glob("*:*"), key=by_number)
    for folder in folders:
        if number(folder / "energy_uj") is not None:
            above = folder.with_name(folder.name.rpartition(":")[0])
            name = " ".join(filter(None, [text(above / "name") if above in folders else None, text(folder / "name") or folder.name]))
            yield name, _Counter(folder).since


class _Counter:
    """A counter of microjoules that begins again at its largest value."""

    def __init__(self, folder):
        self._file = folder / "energy_uj"
        self._range = number(folder / "max_energy_range_uj") or 1 << 32
        self._last = number(self._file)

    def since(self):
        now = number(self._file)
        if now is None or self._last is None:
            return None
        used, self._last = (now - self._last) % self._range, now
        return used / 1e6


def _rails(root, clock):
    """Rails of every INA3221 by name, as `_packages`."""
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"), key=by_number):
        if text(chip / "name") == "ina3221":
            for rail in "123":
                name, watts = text(chip / f"in{rail}_label"), functools.partial(_product, chip, rail)
                if name and watts() is not None:
                    yield name, _Rail(watts, clock).since
    for chip in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*"), key=by_number):  # JetPack 4
        for rail in "012":
            name, watts = text(chip / f"rail_name_{rail}"), functools.partial(_power, chip, rail)
            if name and watts() is not None:
                yield name, _Rail(watts, clock).since


def _product(chip, rail):
    """Watts from millivolts and milliamperes."""
    volts, amperes = number(chip / f"in{rail}_input"), number(chip / f"curr{rail}_input")
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _power(chip, rail):
    """Watts from milliwatts."""
    found = number(chip / f"in_power{rail}_input")
    return None if found is None else found / 1e3


class _Rail:
    """Joules by the trapezoidal rule over readings of watts."""

    def __init__(self, watts, clock):
        self._watts, self._clock = watts, clock
        self._last = clock(), watts()

    def since(self):
        now, watts = self._clock(), self._watts()
        (before, last), self._last = self._last, (now, watts)
        return None if watts is None or last is None else (now - before) * (watts + last) / 2
