#!/usr/bin/env python3
"""Marks a load run in Grafana: from its start to its end, in every dashboard that shows "Load runs".

    annotate_run.py REPORT.json [--grafana http://127.0.0.1:3000]

REPORT.json is what `switchyard load` writes. A token of a service account that may write annotations
is read from GRAFANA_TOKEN in the environment; without one the request carries none. Prints the
annotation's number. Standard library only.
"""
import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

TAG = "switchyard-load"  # of the dashboards' annotation query
SCHEMA = "switchyard-load/1"


class Refused(Exception):
    """Why there is nothing to mark, in words."""


def field(report, *path):
    value = report
    for at, name in enumerate(path):
        if not isinstance(value, dict) or name not in value:
            raise Refused(f"the report has no {'.'.join(path[:at + 1])}")
        value = value[name]
    return value


def figure(rates, name):
    value = field(rates, name, "value")
    return "unknown" if value is None else f"{value:.4g}"


def annotation_of(report):
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise Refused(f"this is no report of `switchyard load`: its schema is not {SCHEMA}")
    start, end = (field(report, "environment", f"{edge}_unix_seconds") for edge in ("start", "end"))
    lines = [field(report, "environment", "command_line")]
    if report.get("refused"):
        lines.append(f"No figures: {report['refused']}")
    else:
        outcomes, rates = field(report, "summary", "outcomes"), field(report, "summary", "rates")
        lines.append(f"{field(outcomes, 'completed')} of {field(outcomes, 'asked')} requests completed, "
                     f"{figure(rates, 'requests_per_second')} per second, "
                     f"{figure(rates, 'output_tokens_per_second')} tokens per second")
    return {"time": round(1000 * start), "timeEnd": round(1000 * end), "tags": [TAG], "text": "\n".join(lines)}


def post(grafana, annotation, token):
    request = urllib.request.Request(grafana.rstrip("/") + "/api/annotations", json.dumps(annotation).encode(),
                                     {"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["id"]
    except urllib.error.HTTPError as error:
        raise Refused(f"Grafana answered {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"Grafana at {grafana} did not answer as it should: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--grafana", default="http://127.0.0.1:3000", help="Grafana's address (%(default)s)")
    options = parser.parse_args()
    try:
        report = json.loads(options.report.read_text(encoding="utf-8"))
        print(post(options.grafana, annotation_of(report), os.environ.get("GRAFANA_TOKEN")))
    except (OSError, ValueError, Refused) as error:
        print(f"{Path(sys.argv[0]).name}: {options.report}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
