"""The dashboards under deploy/grafana as tests read them: panels and the queries in them."""
import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"


def dashboards():
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def panels_of(dashboard, collapsed=True):
    """All panels, rows too; with those in collapsed rows unless told otherwise."""
    for panel in dashboard["panels"]:
        yield panel
        if collapsed:
            yield from panel.get("panels", ())


def all_queries():
    """(dashboard / panel, legend, expression) of every panel, and of every annotation and variable."""
    for dashboard in dashboards():
        for panel in panels_of(dashboard):
            for target in panel.get("targets", ()):
                yield f"{dashboard['uid']} / {panel['title']}", target["legendFormat"], target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                yield f"{dashboard['uid']} / {annotation['name']}", annotation["titleFormat"], annotation["expr"]
        for variable in dashboard["templating"]["list"]:
            values = re.fullmatch(r"label_values\((.+), \w+\)", variable.get("definition", ""))
            if values:
                yield f"{dashboard['uid']} / ${variable['name']}", "", values[1]


def without_variables(expression, interval="1m", span="1h"):
    """As Grafana sends it with all values of every variable chosen."""
    expression = expression.replace("$__rate_interval", interval).replace("$__range", span)
    return re.sub(r'"\$[a-z]\w*"', '".*"', expression)


def legend_labels(legend):
    return re.findall(r"{{(\w+)}}", legend)
