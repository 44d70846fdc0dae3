#!/usr/bin/env python3
"""Writes the alert and recording rules as one PrometheusRule, for Prometheus' operator on Kubernetes.

The rules' own text is kept, comments and all, so that both copies read alike.

    make_prometheus_rule.py           writes deploy/kubernetes/components/monitoring/prometheus_rule.yaml
    make_prometheus_rule.py --check   writes nothing; exit 1 if the file is not what it should be
"""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "kubernetes/components/monitoring/prometheus_rule.yaml"
HEAD = """\
# Made from deploy/prometheus/rules by make_prometheus_rule.py there: change the rules, then run that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: switchyard-node
  labels:
    app.kubernetes.io/name: switchyard-node
spec:
  groups:
"""


def groups_of(file):
    """The text below `groups:` and the comment above it, which says what the file is about."""
    comment, groups = file.read_text(encoding="utf-8").split("groups:\n")
    return "".join(f"    {line}\n" for line in comment.splitlines()) + "".join(
        f"  {line}\n" if line else "\n" for line in groups.splitlines())


def prometheus_rule():
    return HEAD + "\n".join(groups_of(file) for file in sorted(HERE.glob("rules/*.yaml")))


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = prometheus_rule()
    if arguments:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{TARGET} is not what {sys.argv[0]} writes", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
