#!/usr/bin/env python3
"""docs/PROTOCOL.md against protocol/wire.h and record.h: messages, limits, reasons for closing.

    protocol_md.py SOURCE_ROOT
"""
import os
import re
import sys

PHASES = {"hello": 1, "live": 2}
SENDERS = {"active": 1, "passive": 2, "either": 7}


def constants(text):
    """Every #define NAME expression of numbers and earlier names."""
    values = {}
    for name, expression in re.findall(r"^#define (\w+) +(.+?)(?:\s*/\*.*)?$", text, re.M):
        value = evaluate(expression, values)
        if value is not None:
            values[name] = value
    for body in re.findall(r"enum \w+ \{([^{}#]*)\};", text):
        for name, number in re.findall(r"(\w+) = (\d+)", body):
            values[name] = int(number)
    return values


def evaluate(expression, values):
    expression = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)u\b", r"\1", expression)
    expression = re.sub(r"\b[A-Z]\w*", lambda m: str(values.get(m[0], m[0])), expression)
    if not re.fullmatch(r"[0-9a-fA-Fx()*+|\s-]+", expression):
        return None
    return eval(expression, {})  # pylint: disable=eval-used  # digits and operators only, see above


def header_messages(text, values):
    table = re.search(r"#define WIRE_MESSAGES\(X\)(.*?)\n/\*", text, re.S)[1]
    return {name: tuple(evaluate(part, values) for part in rest)
            for name, *rest in re.findall(r"X\((\w+),\s*(\w+),\s*([^,]+),\s*([^,]+),\s*(.+?)\)\s*\\?\s*$",
                                          table, re.M)}


def header_reasons(text):
    table = re.search(r"#define WIRE_REASONS\(X\)(.*?)\n/\*", text, re.S)[1]
    return {name: int(number) for name, number in re.findall(r"X\((\w+), (\d+)\)", table)}


def rows(text, first_columns):
    """The rows of the table whose header begins with these columns."""
    lines = iter(text.splitlines())
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:len(first_columns)] == first_columns:
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                found.append([cell.strip() for cell in row.strip("|").split("|")])
    return found


def document_messages(text):
    out = {}
    for name, number, phase, sender, limit in rows(text, ["name", "id", "phase", "sender", "limit"]):
        out[name] = (int(number, 0), sum(PHASES[word] for word in phase.split(", ")), SENDERS[sender],
                     int(limit))
    return out


def differences(what, header, document):
    for name in sorted(header.keys() | document.keys()):
        if header.get(name) != document.get(name):
            yield f"{what} {name}: header {header.get(name)}, document {document.get(name)}"


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def check(root):
    wire, record = read(root, "protocol/wire.h"), read(root, "protocol/record.h")
    document = read(root, "docs/PROTOCOL.md")
    values = constants(record + wire)
    messages, reasons = header_messages(wire, values), header_reasons(wire)
    limits = {row[0]: int(row[1]) for row in rows(document, ["constant", "value"])}
    problems = list(differences("message", messages, document_messages(document)))
    problems += differences("reason", reasons, {row[0]: int(row[1])
                                                for row in rows(document, ["reason", "number"])})
    problems += differences("limit", {name: value for name, value in values.items()
                                      if re.fullmatch(r"(WIRE|RECORD)_\w+_MAX", name) and
                                      name != "RECORD_ELEMENT_MAX"}, limits)
    problems += [f"message {name} has no section" for name in messages
                 if not re.search(rf"^### .*\b{name}\b", document, re.M)]
    # A reader that finds nothing must not pass.
    if len(messages) < 18 or len(reasons) < 16 or len(limits) < 10 or None in sum(messages.values(), ()):
        problems.append(f"cannot read the tables: {len(messages)} messages, {len(reasons)} reasons, "
                        f"{len(limits)} limits")
    return problems


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    problems = check(sys.argv[1])
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
