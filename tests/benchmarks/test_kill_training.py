"""A real training, killed and gone on with, ends bit for bit like one left alone."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_two_kills(root):
    command = [sys.executable, str(root / "benchmarks" / "kill_training.py"), "--kills", "2", "--epochs", "12"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500, env={**os.environ, "PYTHONPATH": str(root)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("last snapshot") == 2
    assert ran.stdout.splitlines()[-1] == "bit-identical after 2 kills"
