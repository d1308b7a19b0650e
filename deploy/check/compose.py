"""Checks that two versions of Compose read the same services from a file. The input is the output of their `config` commands.

Usage: compose.py NAME=CONFIG.yml NAME=CONFIG.yml
"""

import shlex
import sys

import yaml

UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def main(arguments):
    (one, first), (other, second) = [read(argument) for argument in arguments]
    if not first:
        print(f"{one} found no services")
        return 1
    differences = list(compare(first, second, ""))
    for path, *values in differences:
        print(f"{path}: {one} reads {values[0]!r}, {other} reads {values[1]!r}")
    return 1 if differences else 0


def read(argument):
    name, _, path = argument.partition("=")
    with open(path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    return name, {key: service(value) for key, value in config["services"].items()}


def service(read):
    """Normalizes a service: commands as words, volumes as source, target and access, sizes in bytes, without default values."""
    read = dict(read)
    for key in {"command", "entrypoint"} & read.keys():
        read[key] = shlex.split(read[key]) if isinstance(read[key], str) else read[key]
    if "volumes" in read:
        read["volumes"] = sorted(volume(each) for each in read["volumes"])
    if "shm_size" in read:
        read["shm_size"] = size(str(read["shm_size"]))
    if "depends_on" in read:
        read["depends_on"] = {name: needed["condition"] for name, needed in read["depends_on"].items()}
    if read.get("networks") == {"default": None}:
        del read["networks"]
    return read


def volume(read):
    if isinstance(read, str):
        source, target, *rights = read.split(":")
        return source, target, rights == ["ro"]
    return read["source"], read["target"], read.get("read_only", False)


def size(text):
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def compare(first, second, path):
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted(first.keys() | second.keys()):
            yield from compare(first.get(key), second.get(key), f"{path}.{key}" if path else key)
    elif first != second:
        yield path, first, second


sys.exit(main(sys.argv[1:]))
