"""Checks a dashboard against Grafana's schemas: fields that they do not define are lost when the dashboard is read and written.

Usage: dashboard.py FILE.json
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

COLUMNS = 24


def main(path):
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    register_default_plugins()
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    wrong = [*lost(dashboard, kept, ""), *misplaced(dashboard["panels"]), *foreign(dashboard, "")]
    print("\n".join(wrong) or f"{len(dashboard['panels'])} panels and rows, schema {dashboard['schemaVersion']}")
    return 1 if wrong else 0


def lost(value, kept, path):
    if isinstance(value, dict) and isinstance(kept, dict):
        for key in value:
            if key in kept:
                yield from lost(value[key], kept[key], f"{path}.{key}")
            elif value[key] is not None:
                yield f"Grafana does not define {path}.{key}"
    elif isinstance(value, list) and isinstance(kept, list) and len(value) == len(kept):
        for number, pair in enumerate(zip(value, kept)):
            yield from lost(*pair, f"{path}[{number}]")
    elif value != kept:
        yield f"Grafana reads {path} as {kept!r}, not as {value!r}"


def misplaced(panels):
    taken, ids = {}, set()
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > COLUMNS:
            yield f"panel '{panel['title']}' is wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel)
                if other is not panel:
                    yield f"panels '{panel['title']}' and '{other['title']}' overlap"
                    return
        if panel["id"] in ids:
            yield f"two panels have the id {panel['id']}"
        ids.add(panel["id"])


def foreign(value, path):
    """A datasource that is not the variable exists in one Grafana instance only."""
    if isinstance(value, dict):
        if isinstance(value.get("datasource"), dict) and value["datasource"].get("uid") != "${datasource}":
            yield f"{path}.datasource is not the variable"
        for key, each in value.items():
            yield from foreign(each, f"{path}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from foreign(each, f"{path}[{number}]")


sys.exit(main(sys.argv[1]))
