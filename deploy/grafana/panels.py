"""What a dashboard is made of, as data, and how that becomes Grafana's JSON.

Knows Grafana's format and no metric. Rows flow: panels stand beside each other until the 24 columns
are full. Everything is deterministic, so that the JSON changes only where its source does.
"""
from dataclasses import dataclass, field

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`limit` draws a line where an objective is, in the panel's unit. `kind`: lines, areas (stacked
    lines), stat (the last value), heatmap (a histogram over time) or table (instant values by label)."""
    title: str
    queries: list
    unit: str = "short"
    kind: str = "lines"
    width: int = 8
    height: int = 8
    says: str = ""
    limit: float = None
    worse: str = "above"  # on which side of `limit` it is bad
    most: float = None    # the axis' upper end
    names: bool = False   # stat: the series' name instead of its value
    columns: dict = field(default_factory=dict)  # table: label or query -> heading, in this order
    units: dict = field(default_factory=dict)  # table: heading -> unit, where it is not `unit`
    colors: dict = field(default_factory=dict)  # lines, areas: series -> colour, where one says something


@dataclass(frozen=True)
class Row:
    title: str
    panels: list
    collapsed: bool = False


@dataclass(frozen=True)
class Variable:
    name: str
    label: str
    query: str
    many: bool = True


@dataclass(frozen=True)
class Annotation:
    """Marks in every panel. With `expression` where that has a value, else Grafana's own with `tag`."""
    name: str
    color: str
    expression: str = ""
    title: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    says: str
    variables: list
    rows: list
    annotations: list
    span: str = "now-1h"
    refresh: str = "10s"


def override(name, **properties):
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": key, "value": value} for key, value in properties.items()]}


def thresholds(panel):
    if panel.limit is None:
        steps = [{"color": "text" if panel.kind == "stat" else "green", "value": None}]
    elif panel.worse == "above":
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
    else:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.limit}]
    return {"mode": "absolute", "steps": steps}


def lines(panel):
    stacked = panel.kind == "areas"
    custom = {
        "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "showPoints": "auto",
        "pointSize": 4, "spanNulls": False, "fillOpacity": 40 if stacked else 8,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.limit is None else "dashed"},
    }
    defaults = {"unit": panel.unit, "min": 0, "custom": custom, "color": {"mode": "palette-classic"},
                "thresholds": thresholds(panel)}
    if panel.most is not None:
        defaults["max"] = panel.most
    return {
        "type": "timeseries",
        "fieldConfig": {"defaults": defaults, "overrides": [
            override(name, color={"mode": "fixed", "fixedColor": color}) for name, color in panel.colors.items()]},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True,
                               "calcs": ["lastNotNull"]},
                    "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def stat(panel):
    return {
        "type": "stat",
        "fieldConfig": {"defaults": {"unit": panel.unit, "thresholds": thresholds(panel),
                                     "color": {"mode": "thresholds"}, "noValue": "no data"}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                    "colorMode": "value", "justifyMode": "auto",
                    "graphMode": "none" if panel.names or targets(panel)[0].get("instant") else "area",
                    "orientation": "auto", "textMode": "name" if panel.names else "auto"},
    }


def heatmap(panel):
    return {
        "type": "heatmap",
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"calculate": False, "cellGap": 0, "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
                    "rowsFrame": {"layout": "le"}, "filterValues": {"le": 1e-9}, "legend": {"show": False},
                    "color": {"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "exponent": 0.5,
                              "steps": 64, "reverse": False},
                    "tooltip": {"show": True, "yHistogram": False}},
    }


def table(panel):
    order = list(panel.columns)
    return {
        "type": "table",
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": {"align": "auto", "filterable": True}},
                        "overrides": [override(heading, unit=unit) for heading, unit in panel.units.items()]},
        "options": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": order}}},
            {"id": "organize", "options": {"indexByName": {name: at for at, name in enumerate(order)},
                                           "renameByName": panel.columns}}],
    }


KINDS = {"lines": lines, "areas": lines, "stat": stat, "heatmap": heatmap, "table": table}


def targets(panel):
    result = []
    for at, query in enumerate(panel.queries):
        target = {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query.expression,
                  "legendFormat": query.legend or "__auto"}
        if panel.kind == "table":
            target |= {"format": "table", "instant": True, "range": False}
        elif panel.kind == "heatmap":
            target |= {"format": "heatmap", "legendFormat": "{{le}}"}
        elif "$__range" in query.expression:  # one value for all of it
            target |= {"instant": True, "range": False}
        result.append(target)
    return result


class Layout:
    """Gives panels their numbers and places, in the order they come."""

    def __init__(self):
        self.next_id = 1
        self.x = self.y = self.line_height = 0

    def place(self, width, height):
        if self.x + width > COLUMNS:
            self.break_line()
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x += width
        self.line_height = max(self.line_height, height)
        return place

    def break_line(self):
        self.x, self.y, self.line_height = 0, self.y + self.line_height, 0

    def panel(self, panel):
        result = {"id": self.next_id, "title": panel.title, "description": panel.says, "datasource": SOURCE,
                  "gridPos": self.place(panel.width, panel.height), "targets": targets(panel)}
        self.next_id += 1
        return result | KINDS[panel.kind](panel)

    def row(self, row):
        self.break_line()
        head = {"id": self.next_id, "type": "row", "title": row.title, "collapsed": row.collapsed,
                "gridPos": self.place(COLUMNS, 1), "panels": []}
        self.next_id += 1
        after_head = self.y + 1
        panels = [self.panel(panel) for panel in row.panels]
        if not row.collapsed:
            return [head, *panels]
        # What a collapsed row holds takes no room until it is opened.
        self.break_line()
        self.y = after_head
        return [head | {"panels": panels}]


def variable(entry):
    every = {"includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}} if entry.many else {
        "includeAll": False, "current": {}}
    return {"type": "query", "name": entry.name, "label": entry.label, "datasource": SOURCE, "multi": entry.many,
            "definition": entry.query, "query": {"query": entry.query, "refId": entry.name}, "refresh": 2, "sort": 1,
            "regex": "", "hide": 0, "options": []} | every


def annotation(entry):
    shared = {"name": entry.name, "enable": True, "hide": False, "iconColor": entry.color}
    if entry.tag:
        return shared | {"datasource": {"type": "grafana", "uid": "-- Grafana --"},
                         "target": {"type": "tags", "tags": [entry.tag], "matchAny": False, "limit": 100}}
    return shared | {"datasource": SOURCE, "expr": entry.expression, "titleFormat": entry.title, "step": "15s",
                     "useValueForTime": False}


def as_json(dashboard, others):
    """`others`: the dashboards to link to."""
    layout = Layout()
    panels = [panel for row in dashboard.rows for panel in layout.row(row)]
    source = {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1,
              "regex": "", "hide": 0, "multi": False, "includeAll": False, "current": {}, "options": []}
    return {
        "uid": dashboard.uid, "title": dashboard.title, "description": dashboard.says, "tags": ["switchyard"],
        "schemaVersion": 38, "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser",
        "refresh": dashboard.refresh, "time": {"from": dashboard.span, "to": "now"}, "timepicker": {},
        "templating": {"list": [source, *map(variable, dashboard.variables)]},
        "annotations": {"list": list(map(annotation, dashboard.annotations))},
        "links": [{"type": "link", "title": other.title, "url": f"/d/{other.uid}", "icon": "dashboard",
                   "includeVars": True, "keepTime": True, "targetBlank": False, "asDropdown": False, "tags": [],
                   "tooltip": ""} for other in others],
        "panels": panels,
    }
