"""Holds the manual against the program.

The lists of commands, options and keys in the manual are made from the program's own tables
(`artifact-sync --dump-interface`). Without --write this says whether the files are what would be
made now; every configuration that CONFIGURATION.md shows is also given to the program to read.

    manual.py ARTIFACT_SYNC DOCS [--write]
"""
import difflib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

NOT_RUNNING = 4  # what a command answers that could read its configuration


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def roff_help(text):
    """Paragraphs; lines that begin with two spaces are shown as they are."""
    out, shown = [], False
    for line in text.split("\n"):
        if line.startswith("  ") != shown:
            shown = not shown
            out.append(".RS 4\n.nf" if shown else ".fi\n.RE")
        out.append(roff(line[2:] if shown else line) if line else ".PP")
    if shown:
        out.append(".fi\n.RE")
    return "\n".join(out)


def roff_option(option):
    name = "\\-\\-" + roff(option["name"])
    arg = " \\fI" + roff(option["arg"]) + "\\fR" if option["arg"] else ""
    required = " (required)" if option["required"] else ""
    return f".TP\n\\fB{name}\\fR{arg}{required}\n{roff(option['help'])}."


def roff_commands(interface):
    out = []
    for command in interface["commands"]:
        operands = (command["operands"] or "").split("\n")
        out.append(".SS " + command["name"])
        for line in operands:
            out.append(f"\\fBartifact\\-sync {command['name']}\\fR "
                       f"[\\fIOPTION\\fR...] {roff(line)}\n.br")
        out.append(roff(command["summary"]) + ".\n.PP")
        out += [roff_option(option) for option in command["options"]]
        out.append(".PP\n" + roff_help(command["help"]))
    return "\n".join(out)


def bounds(key):
    if key["choices"]:
        return " or ".join(f'"{choice}"' for choice in key["choices"])
    if "min" in key:
        return f"{key['min']} to {key['max']} {key['unit']}"
    return key["type"]


def default(key):
    if key["required"]:
        return "required"
    if key["without"]:
        return key["without"]
    return json.dumps(key["default"])


def roff_keys(keys):
    out = []
    for key in keys:
        out.append(f".TP\n\\fB{roff(key['name'])}\\fR  ({roff(bounds(key))}; {roff(default(key))})")
        out.append(roff(key["help"]))
        if key["example"]:
            out.append(f".br\nExample: {roff(key['example'])}")
    return "\n".join(out)


def table_keys(keys):
    def cell(text):
        return text.replace("|", "\\|")

    out = ["| key | value | when left out | reload | what it does |", "|---|---|---|---|---|"]
    for key in keys:
        example = f" Example: `{key['example']}`" if key["example"] else ""
        live = "yes" if key["live"] else "restart"
        out.append(f"| `{key['name']}` | {cell(bounds(key))} | {cell(default(key))} | {live} | "
                   f"{cell(key['help'])}{cell(example)} |")
    return "\n".join(out)


def replace(text, name, made, comment):
    begin, end = (comment.format(f"{word} {name}") for word in ("begin", "end"))
    pattern = re.compile(re.escape(begin) + "\n.*?" + re.escape(end) + "\n", re.S)
    if not pattern.search(text):
        sys.exit(f"no line {begin!r} ... {end!r}")
    return pattern.sub(lambda _: f"{begin}\n{made}\n{end}\n", text)


def made_from(interface, docs):
    man, html = '.\\" {}', "<!-- {} -->"
    files = {}
    files["artifact-sync.1"] = replace((docs / "artifact-sync.1").read_text(), "commands",
                                       roff_commands(interface), man)
    text = (docs / "artifact-sync.json.5").read_text()
    text = replace(text, "keys", roff_keys(interface["keys"]), man)
    files["artifact-sync.json.5"] = replace(text, "peer keys", roff_keys(interface["peer_keys"]), man)
    text = (docs / "CONFIGURATION.md").read_text()
    text = replace(text, "keys", table_keys(interface["keys"]), html)
    files["CONFIGURATION.md"] = replace(text, "peer keys", table_keys(interface["peer_keys"]), html)
    return files


def unreadable(program, text):
    """Gives each ```json block that is a whole configuration to the program."""
    wrong = []
    for block in re.findall(r"```json\n(.*?)```", text, re.S):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(block)
            file.flush()
            done = subprocess.run([program, "role", "--config", file.name], capture_output=True,
                                  text=True, check=False)
            if done.returncode != NOT_RUNNING:
                wrong.append(done.stderr)
    return wrong


def main():
    program, docs = sys.argv[1], pathlib.Path(sys.argv[2])
    interface = json.loads(subprocess.run([program, "--dump-interface"], check=True,
                                          capture_output=True).stdout)
    failed = False
    for name, text in made_from(interface, docs).items():
        now = (docs / name).read_text()
        if "--write" in sys.argv[3:]:
            (docs / name).write_text(text)
        elif now != text:
            failed = True
            sys.stdout.writelines(difflib.unified_diff(now.splitlines(True), text.splitlines(True),
                                                       name, name + " (made now)"))
    for complaint in unreadable(program, (docs / "CONFIGURATION.md").read_text()):
        failed = True
        print("CONFIGURATION.md shows a configuration that is refused:", complaint)
    if failed:
        sys.exit("the manual differs from the program; tests/unit/cli/manual.py ... --write mends it")


main()
