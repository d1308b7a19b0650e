"""Validates manifests against the schemas of the oldest and the newest supported Kubernetes. Usage: schemas.py FILE..."""

import sys

import kubernetes_validate
import yaml

# gRPC probes are generally available from the first version on; the second is the newest that the package has.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]
# Kinds of custom resources, for which Kubernetes has no schema.
FOREIGN = {"PodMonitor"}


def main(paths):
    wrong = []
    count = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            objects = [each for each in yaml.safe_load_all(file) if each]
        for each in objects:
            name = f"{each.get('kind')}/{each.get('metadata', {}).get('name')}"
            if each.get("kind") in FOREIGN:
                print(f"skipped: no schema of {name} ({each['apiVersion']})")
                continue
            count += 1
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(each, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = ".".join(str(step) for step in error.path)
                    wrong.append(f"{name}, Kubernetes {version}: {where}: {error.message}")
                except kubernetes_validate.SchemaNotFoundError as error:
                    wrong.append(f"{name}, Kubernetes {version}: {error.message}")
    if count == 0:
        wrong.append(f"no objects in {', '.join(paths)}")
    print("\n".join(wrong) or f"{count} objects are valid for Kubernetes {' and '.join(VERSIONS)}")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
