"""Where prometheus and promtool are: what deploy/fetch_prometheus.sh unpacked, else PATH."""
import shutil
from pathlib import Path

FETCHED = Path(__file__).resolve().parents[2] / "build/tools/prometheus/usr/bin"


def _program(name):
    found = shutil.which(name, path=FETCHED) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is neither in {FETCHED} nor in PATH; deploy/fetch_prometheus.sh gets it")
    return found


def promtool():
    return _program("promtool")


def prometheus():
    return _program("prometheus")
