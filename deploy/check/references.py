"""Checks what schemas cannot: that the names, labels, ports and files of a set of manifests match, and that its pods meet the restricted profile.

Usage: references.py MANIFESTS GIVEN...     GIVEN: manifests of objects that exist already, for example secrets
       references.py --options MANIFESTS    prints the options on the programs' command lines: `coordinator:run --agents`
"""

import re
import sys

import yaml

REPEATABLE = {"--query", "--threshold"}
GRACE_SECONDS_MIN = {"agent": 36, "coordinator": 36}
VOLUMES_ALLOWED = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def load(paths):
    objects = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            objects += [each for each in yaml.safe_load_all(file) if each]
    return objects


def labels_match(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


class Workload:
    """A Job or a Deployment, and the one container of its pods."""

    def __init__(self, manifest):
        self.manifest = manifest
        self.name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        template = manifest["spec"]["template"]
        self.labels = template["metadata"]["labels"]
        self.component = self.labels["app.kubernetes.io/component"]
        self.pod = template["spec"]
        (self.container,) = self.pod["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}

    def options(self):
        """Yields its command line as (name, value), with `$(NAME)` replaced by the environment variable."""
        environment = {each["name"]: each.get("value", "") for each in self.container.get("env", [])}
        if self.manifest["spec"].get("completionMode") == "Indexed":
            environment["JOB_COMPLETION_INDEX"] = "0"
        for word in self.container["args"]:
            word = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], word)
            name, _, value = word.partition("=")
            yield (name, value) if word.startswith("--") else ("", word)


def check(manifests, given):
    everything = manifests + given
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in everything}
    workloads = [Workload(each) for each in manifests if each["kind"] in ("Deployment", "Job")]
    if not workloads:
        yield "there is no Job and no Deployment"
    for workload in workloads:
        yield from check_pod(workload)
        yield from check_volumes(workload, by_name)
        yield from check_options(workload, workloads, by_name)
        selector = workload.manifest["spec"].get("selector")
        if selector and not labels_match(selector, workload.labels):
            yield f"{workload.name} does not select its own pods"
    for each in manifests:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Service":
            selector = {"matchLabels": each["spec"]["selector"]}
            targets = [port["targetPort"] for port in each["spec"]["ports"]]
            yield from check_selector(name, selector, targets, workloads)
        elif each["kind"] == "PodMonitor":
            ports = [endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]]
            yield from check_selector(name, each["spec"]["selector"], ports, workloads)
        elif each["kind"] == "NetworkPolicy":
            yield from check_policy(name, each["spec"], workloads)


def check_selector(name, selector, ports, workloads):
    """Checks that the selector matches pods and that these have the ports."""
    selected = [workload for workload in workloads if labels_match(selector, workload.labels)]
    if not selected:
        yield f"{name} selects no pod: {selector}"
    for workload in selected:
        for port in ports:
            if port not in workload.ports and port not in workload.ports.values():
                yield f"{name}: {workload.name} has no port {port}"


def check_policy(name, spec, workloads):
    ingress = [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
    yield from check_selector(name, spec["podSelector"], ingress, workloads)
    for rule in spec.get("ingress", []):
        for peer in rule["from"]:
            if "podSelector" in peer:
                yield from check_selector(name, peer["podSelector"], [], workloads)
    for rule in spec.get("egress", []):
        for peer in rule.get("to", []):
            if "podSelector" in peer:
                ports = [port["port"] for port in rule["ports"]]
                yield from check_selector(name, peer["podSelector"], ports, workloads)


def check_pod(workload):
    """Checks the restricted profile of the Pod Security Standards and this project's additional rules."""
    pod, container, name = workload.pod, workload.container, workload.name
    pod_context, context = pod.get("securityContext", {}), container.get("securityContext", {})
    wanted = {
        "runAsNonRoot": pod_context.get("runAsNonRoot") is True,
        "a user that is not root": pod_context.get("runAsUser", 0) > 0,
        "seccompProfile RuntimeDefault": pod_context.get("seccompProfile") == {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation false": context.get("allowPrivilegeEscalation") is False,
        "no capability": context.get("capabilities") == {"drop": ["ALL"]},
        "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
        "automountServiceAccountToken false": pod.get("automountServiceAccountToken") is False,
        "enableServiceLinks false": pod.get("enableServiceLinks") is False,
        "no host namespaces": not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(),
        "a grace period for draining": pod.get("terminationGracePeriodSeconds", 30) >= GRACE_SECONDS_MIN[workload.component],
        "a CPU request": "cpu" in container["resources"].get("requests", {}),
        "a memory limit": "memory" in container["resources"].get("limits", {}),
        "no CPU limit": "cpu" not in container["resources"].get("limits", {}),
    }
    for what, holds in wanted.items():
        if not holds:
            yield f"{name} lacks: {what}"
    if workload.component == "coordinator" and workload.manifest["spec"].get("backoffLimit") != 0:
        yield f"{name} would run a second time: backoffLimit is not 0"


def check_volumes(workload, by_name):
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    mounts = {mount["name"] for mount in workload.container.get("volumeMounts", [])}
    for name in sorted(volumes.keys() ^ mounts):
        yield f"{workload.name}: volume {name} is {'not mounted' if name in volumes else 'not defined'}"
    for name, volume in volumes.items():
        (kind,) = volume.keys() - {"name"}
        if kind not in VOLUMES_ALLOWED:
            yield f"{workload.name}: volume {name} is a {kind}"
        elif kind != "emptyDir" and (source := volume_source(volume)) not in by_name:
            yield f"{workload.name}: there is no {'/'.join(source)} for volume {name}"
    for each in workload.container.get("env", []):
        key = each.get("valueFrom", {}).get("secretKeyRef")
        if key and key["key"] not in keys_of(by_name.get(("Secret", key["name"]))):
            yield f"{workload.name}: Secret/{key['name']} has no {key['key']}"


def volume_source(volume):
    if "secret" in volume:
        return "Secret", volume["secret"]["secretName"]
    if "configMap" in volume:
        return "ConfigMap", volume["configMap"]["name"]
    return "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def keys_of(manifest):
    return {**(manifest or {}).get("data", {}), **(manifest or {}).get("stringData", {})}.keys()


def check_options(workload, workloads, by_name):
    options = list(workload.options())
    names = [name for name, _ in options if name and name not in REPEATABLE]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{workload.name} has {name} more than once"
    values = dict(options)
    yield from check_files(workload, options, by_name)
    port = int(values["--metrics"].rpartition(":")[2]) if "--metrics" in values else None
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in workload.container and workload.container[probe]["grpc"]["port"] != port:
            yield f"{workload.name}: {probe} uses a port other than that of --metrics"
    if port and workload.ports.get("metrics") != port:
        yield f"{workload.name}: port metrics is not that of --metrics"
    if workload.component == "coordinator":
        started = sum(number_of_pods(each.manifest["spec"]) for each in workloads if each.component == "agent")
        if int(values["--agents"]) > started:
            yield f"{workload.name} waits for {values['--agents']} agents, but only {started} are started"
    else:
        host, _, port = values["--coordinator"].rpartition(":")
        service = by_name.get(("Service", host))
        if "." not in host and (not service or int(port) not in [each["port"] for each in service["spec"]["ports"]]):
            yield f"{workload.name}: there is no Service {host} with port {port}"


def number_of_pods(spec):
    return spec["replicas"] if "replicas" in spec else spec["completions"]


def check_files(workload, options, by_name):
    """Checks that every file on the command line is in the volume mounted at its path."""
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    for mount in workload.container.get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        if not {"secret", "configMap"} & volume.keys():
            continue
        keys = keys_of(by_name.get(volume_source(volume)))
        below = [value for _, value in options if value == mount["mountPath"] or value.startswith(mount["mountPath"] + "/")]
        if not below:
            yield f"{workload.name}: nothing on its command line is in {mount['mountPath']}"
        for path in below:
            files = [path.removeprefix(mount["mountPath"] + "/")] if path != mount["mountPath"] else IDENTITY
            for file in files:
                if file not in keys:
                    yield f"{workload.name}: {'/'.join(volume_source(volume))} has no {file}"


# The files in `--identity DIR`.
IDENTITY = ["key.pem", "cert.pem", "secret"]


def main(arguments):
    if arguments[0] == "--options":
        workloads = [Workload(each) for each in load(arguments[1:]) if each["kind"] in ("Deployment", "Job")]
        programs = {"agent": "agent:", "coordinator": "coordinator:run"}
        print("\n".join(sorted({f"{programs[each.component]} {name}" for each in workloads for name, _ in each.options() if name})))
        return 0
    wrong = list(check(load(arguments[:1]), load(arguments[1:])))
    print("\n".join(wrong) or "names, labels, ports and files match")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
