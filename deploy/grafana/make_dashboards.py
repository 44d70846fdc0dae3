#!/usr/bin/env python3
"""Writes Grafana's dashboards, one JSON file each, from *_dashboard.py beside this file.

    make_dashboards.py           writes dashboards/*.json
    make_dashboards.py --check   writes nothing; exit 1 if a file is not what it should be
"""
import json
import sys
from pathlib import Path

from fleet_dashboard import FLEET_DASHBOARD
from load_test_dashboard import LOAD_TEST_DASHBOARD
from node_dashboard import NODE_DASHBOARD
from panels import as_json

FOLDER = Path(__file__).resolve().parent / "dashboards"
DASHBOARDS = [FLEET_DASHBOARD, NODE_DASHBOARD, LOAD_TEST_DASHBOARD]


def text_of(dashboard):
    """JSON with a line for each panel, so that a difference shows what changed."""
    lines = []
    for key, value in dashboard.items():
        if key == "panels":
            panels = ",\n  ".join(json.dumps(panel) for panel in value)
            lines.append(f'"panels": [\n  {panels}\n ]')
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def files():
    """path -> text of all that there should be."""
    return {FOLDER / f"{dashboard.uid.removeprefix('switchyard-').replace('-', '_')}.json":
            text_of(as_json(dashboard, [other for other in DASHBOARDS if other is not dashboard]))
            for dashboard in DASHBOARDS}


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = files()
    there = set(FOLDER.glob("*.json"))
    if arguments:
        wrong = [path for path in there | set(wanted)
                 if path not in there or path.read_text(encoding="utf-8") != wanted.get(path)]
        for path in sorted(wrong):
            print(f"{path} is not what {sys.argv[0]} writes", file=sys.stderr)
        return 1 if wrong else 0
    FOLDER.mkdir(exist_ok=True)
    for path in there - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
