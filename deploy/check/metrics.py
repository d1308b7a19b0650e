"""Finds metrics and labels in PromQL that Muster does not export. ../metrics.txt lists the metrics that it exports.

Usage: metrics.py CONTRACT DASHBOARD.json RULES.yml...
       metrics.py --rules DASHBOARD.json     prints the dashboard's expressions as rules, for promtool to read
"""

import json
import re
import sys

import yaml

# A series that Prometheus itself generates, and labels that it adds to every target.
PROMETHEUS = {"up": {}}
TARGET_LABELS = {"instance", "job", "namespace", "pod"}
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r"\s*(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"\s*,?")


def read_contract(path):
    """Returns the series with their labels and the allowed values of each label; an empty set allows any value."""
    series = dict(PROMETHEUS)
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, *rest = line.split("#")[0].split() or [""]
            if not name:
                continue
            kind, *labels = rest
            known = {}
            for label in labels:
                label, _, values = label.partition("=")
                known[label] = set(values.split("|")) - {""}
            if kind == "histogram":
                series[f"{name}_bucket"] = {**known, "le": set()}
                series[f"{name}_sum"] = series[f"{name}_count"] = known
            elif kind == "gauge" or (kind == "counter" and name.endswith("_total")):
                series[name] = known
            else:
                raise SystemExit(f"{path}: '{line.strip()}' is not a gauge, a counter that ends in _total, or a histogram")
    return series


def check(expression, series):
    """Yields the problems of an expression."""
    labels_known = TARGET_LABELS.union(*series.values())
    for names in LABEL_LIST.findall(expression):
        for label in filter(None, re.split(r"[\s,]+", names)):
            if label not in labels_known:
                yield f"no metric has the label {label}"
    rest = LABEL_LIST.sub(" ", expression)
    rest = re.sub(r"\[[^]]*\]", " ", rest)
    rest = re.sub(r"\b\d[\w.]*", " ", rest)
    for found in SELECTOR.finditer(rest):
        name, matchers = found[1], found[2]
        is_function = rest[found.end():].startswith("(")
        if is_function or name in WORDS or inside_quotes(rest, found.start()):
            continue
        if name not in series:
            yield f"there is no metric {name}"
            continue
        for label, _, value in MATCHER.findall(matchers or ""):
            known = series[name]
            if label not in known and label not in TARGET_LABELS:
                yield f"{name} has no label {label}"
            elif known.get(label) and "$" not in value and not set(value.split("|")) <= known[label]:
                yield f"{name} has no {label}=\"{value}\""


def inside_quotes(text, position):
    return text[:position].count('"') % 2 == 1


def expressions_of(path):
    with open(path, encoding="utf-8") as file:
        if path.endswith(".json"):
            dashboard = json.load(file)
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    yield f"panel '{panel['title']}'", target["expr"]
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "query":
                    # label_values(metric, label)
                    yield f"variable {variable['name']}", variable["query"]["query"].removeprefix("label_values(").split(",")[0]
        else:
            for group in yaml.safe_load(file)["groups"]:
                for rule in group["rules"]:
                    yield f"rule {rule.get('alert') or rule.get('record')}", rule["expr"]


def legends_of(path):
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            for panel in json.load(file)["panels"]:
                for target in panel.get("targets", []):
                    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")):
                        yield f"panel '{panel['title']}'", label


def main(arguments):
    if arguments[0] == "--rules":
        rules = [
            {"record": f"panel:{number}", "expr": re.sub(r"\$__\w+", "1m", expression)}
            for number, (_, expression) in enumerate(expressions_of(arguments[1]))
        ]
        print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        return 0
    series = read_contract(arguments[0])
    wrong, count, used = [], 0, set()
    for path in arguments[1:]:
        for where, expression in expressions_of(path):
            count += 1
            used |= {name for name in series if re.search(rf"\b{name}\b", expression)}
            wrong += [f"{path}, {where}: {what}" for what in check(expression, series)]
        labels = TARGET_LABELS.union(*series.values())
        wrong += [f"{path}, {where}: no metric has the label {label}" for where, label in legends_of(path) if label not in labels]
    if count == 0:
        wrong.append("there are no expressions")
    print("\n".join(wrong) or f"{count} expressions are correct and use {len(used - PROMETHEUS.keys())} series of Muster")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
