"""What docs/OPERATIONS.md tells people to type exists: commands, options, settings, states."""

import functools
import re

import pytest

from harness import DONE, run
from trees import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "OPERATIONS.md"


def pieces():
    """Everything set as code: indented lines, fences, and `between backticks`."""
    text = DOCUMENT.read_text()
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", text)


def commands():
    """{(verb, frozenset of options)} of every `artifact-sync VERB ...`; also where the name is left out."""
    found = set()
    for piece in pieces():
        for call in re.findall(r"(?<![\w./@-])artifact-sync\s+([^|&;#()]+)", piece):
            words = call.split()
            verb = next((word for word in words if re.fullmatch("[a-z]+", word)), None)
            if verb:
                found.add((verb, frozenset(re.findall(r"(?<!\S)--[a-z-]+", call))))
        begun = re.match(r"(reverse|role|resolve|ready|drill|init|pair|wait|verify|ledger|salvage)\b(.*)", piece)
        if begun and "--" in begun[2]:
            found.add((begun[1], frozenset(re.findall(r"(?<!\S)--[a-z-]+", begun[2]))))
    return sorted(found, key=lambda each: (each[0], sorted(each[1])))


@functools.cache
def help_of(verb):
    answer = run(verb, "--help")
    assert answer.exit == DONE, f"docs/OPERATIONS.md names the command {verb}: {answer!r}"
    return answer.out


@pytest.mark.parametrize("verb, options", commands(),
                         ids=lambda value: value if isinstance(value, str) else " ".join(sorted(value)))
def test_commands_and_options_exist(verb, options):
    text = help_of(verb)
    for option in options - {"--json", "--config", "--help"}:
        assert re.search(re.escape(option) + r"\b", text), f"{verb} has no {option}"


def test_links_lead_somewhere():
    text = DOCUMENT.read_text()
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in text.splitlines() if line.startswith("#")}
    for target in re.findall(r"\]\(#([^)]+)\)", text):
        assert target in headings, f"#{target} leads nowhere; there are {sorted(headings)}"


def test_files_named_exist():
    for name in re.findall(r"`(deploy/[^`]+)`", DOCUMENT.read_text()):
        assert (REPOSITORY / name).exists(), name
