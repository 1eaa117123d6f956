"""Joules from counters and rails, against sums by hand; none where the machine has none."""

import itertools
import threading

import pytest

from egokeras.device import energy
from egokeras.device.energy import Meter
from egokeras.files import atomic


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """Nothing is read but when the test says so."""
    monkeypatch.setattr(energy, "SECONDS", 3600)


def write(root, **files):
    root.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        with atomic(root / name, "w") as file:  # a counter of the kernel is never half there
            file.write(f"{value}\n")
    return root


def test_a_counter_that_begins_again(tmp_path):
    package = write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0", energy_uj=9_000_000, max_energy_range_uj=10_000_000)
    core = write(tmp_path / "sys/class/powercap/intel-rapl:0:0", name="core", energy_uj=1_000_000, max_energy_range_uj=10_000_000)
    write(tmp_path / "sys/class/powercap/intel-rapl", enabled=1)
    with Meter(tmp_path) as meter:
        write(package, energy_uj=500_000)
        meter.read()
        write(package, energy_uj=3_500_000)
        write(core, energy_uj=1_250_000)
    assert meter.joules == {"package-0": pytest.approx(4.5), "package-0 core": pytest.approx(0.25)}


def test_the_rails_of_a_jetson_are_integrated(tmp_path):
    """10 V at 0.5 A, then 1 A, then 1 A again, one second apart: 5, 10, 10 W make 7.5 and 10 J."""
    chip = write(tmp_path / "sys/class/hwmon/hwmon3", name="ina3221", in1_label="VDD_IN", in1_input=10_000, curr1_input=500)
    write(chip, in2_label="VDD_CPU_GPU_CV", in2_input=5_000, in7_label="sum of shunt voltages", in7_input=3)  # a rail without a current
    write(tmp_path / "sys/class/hwmon/hwmon0", name="k10temp", in1_label="x", in1_input=1, curr1_input=1)
    ticks = iter([0, 0, 0, 1, 2, 2])  # made, entered, first reading, second, third, left
    with Meter(tmp_path, clock=lambda: next(ticks)) as meter:
        write(chip, curr1_input=1000)
        meter.read()
    assert meter.joules == {"VDD_IN": pytest.approx(17.5)}
    assert meter.seconds == 2


def test_the_rails_of_an_older_jetson(tmp_path):
    write(tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0", rail_name_0="POM_5V_IN", in_power0_input=2_500, in_power1_input=1)
    ticks = iter(range(10))
    with Meter(tmp_path, clock=lambda: next(ticks)) as meter:
        pass
    assert set(meter.joules) == {"POM_5V_IN"} and meter.joules["POM_5V_IN"] == pytest.approx(2.5)


def test_nothing_is_claimed_where_nothing_is_counted(tmp_path):
    write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0")  # a counter that may not be read
    before = threading.active_count()
    with Meter(tmp_path) as meter:
        assert threading.active_count() == before
    assert meter.joules == {}


def test_a_counter_that_goes_away_is_no_zero(tmp_path):
    package = write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0", energy_uj=1)
    with Meter(tmp_path) as meter:
        (package / "energy_uj").unlink()
    assert meter.joules == {}


def test_rails_are_read_all_the_time(tmp_path, monkeypatch):
    """What lies between two readings counts: a peak of 8 W that only a reading in between can see."""
    monkeypatch.setattr(energy, "SECONDS", 0.01)
    chip = write(tmp_path / "sys/class/hwmon/hwmon0", name="ina3221", in1_label="VDD_IN", in1_input=1_000, curr1_input=0)
    seen = threading.Event()
    readings = itertools.count()
    product = energy._product

    def watched(*rail):
        if next(readings) > 8:
            seen.set()
        return product(*rail)

    monkeypatch.setattr(energy, "_product", watched)
    with Meter(tmp_path) as meter:
        write(chip, curr1_input=8_000)
        assert seen.wait(10)
        write(chip, curr1_input=0)
    assert meter.joules["VDD_IN"] > 0
