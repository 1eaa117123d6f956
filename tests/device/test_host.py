"""What a machine says of itself, read from folders like those of a Jetson and of a phone's board."""

import platform

import pytest

from egokeras.device import host


@pytest.fixture
def machine(tmp_path):
    """Function that fills the files of a machine: path to content."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(content))
        return tmp_path

    return write


def test_this_machine():
    found = host.host()
    assert found["processor"]
    assert found["cores"] >= 1
    assert platform.machine() in found["system"]


def test_a_board_is_named_before_its_processor(machine):
    root = machine({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "proc/cpuinfo": "processor : 0\nmodel name\t: ARMv8"})
    assert host.host(root)["processor"] == "NVIDIA Jetson Orin Nano"
    (root / "proc/device-tree/model").unlink()
    assert host.host(root)["processor"] == "ARMv8"


def test_clocks_and_temperatures_are_in_the_order_of_their_numbers(machine):
    clocks = {f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq": 1_000_000 + 1000 * number for number in range(12)}
    zones = {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": 48_500}
    zones |= {"sys/class/thermal/thermal_zone1/type": "gpu-thermal", "sys/class/thermal/thermal_zone1/temp": "off"}
    root = machine({**clocks, **zones, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n"})
    found = host.state(root)
    assert found == {"governor": "schedutil", "mhz": [1000 + number for number in range(12)], "temperature_c": {"cpu-thermal 0": 48.5}}


def test_what_a_machine_does_not_say_is_not_made_up(tmp_path):
    assert host.state(tmp_path) == {"governor": None, "mhz": [], "temperature_c": {}}
    assert host.number(tmp_path / "none") is None
