"""Extracts the commands of a Markdown page for deploy/check.sh. A block after `<!-- not run: REASON -->` is skipped.

Usage: document.py FILE.md DIRECTORY      writes DIRECTORY/LINE.sh for each block to run, prints `skipped: ...` for the others
       document.py --options FILE.md      prints the options that the page uses with Muster's programs: `coordinator:run --agents`
"""

import re
import sys

BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n)?```sh\n(?P<commands>.*?)```\n", re.DOTALL)
# A program's name and its arguments, up to the next command.
COMMAND = r"coordinator (?:run|token|plan|report|compare|migrate|generate [a-z-]+)"
PROGRAM = re.compile(rf"(?<![\w/-])({COMMAND}|agent)(?= )(?P<rest>[^|<>;\n]*)")


def main(arguments):
    path = arguments[1] if arguments[0] == "--options" else arguments[0]
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if arguments[0] == "--options":
        for block in BLOCK.finditer(text):
            commands = re.sub(r"#.*", "", block["commands"].replace("\\\n", " "))
            for found in PROGRAM.finditer(commands):
                for option in re.findall(r"\s(--[a-z-]+)", found["rest"]):
                    print(found[1].replace(" ", ":"), option)
        return
    for block in BLOCK.finditer(text):
        line = text[: block.start("commands")].count("\n") + 1
        if block["reason"]:
            print(f"skipped: {path.removeprefix('../')}:{line}: {block['reason']}")
        else:
            with open(f"{arguments[1]}/{line:04}.sh", "w", encoding="utf-8") as file:
                file.write(block["commands"])


main(sys.argv[1:])
