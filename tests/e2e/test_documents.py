"""What docs/OPERATIONS.md tells people to type exists: commands, options, settings, states."""

import functools
import os
import re
import shutil
import subprocess

import pytest

from harness import DONE, PROGRAM, environment, run
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
        for call in re.findall(r"(?<![\w./@-])(?<!-u )artifact-sync\s+([^|&;#()]+)", piece):
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


# -- what it says is typed -----------------------------------------------------------------------------

CONFIG_LINE = "export ARTIFACT_SYNC_CONFIG=/etc/artifact-sync/is.json"


def blocks():
    """The indented lines that stand together, joined where one ends in a backslash."""
    text = DOCUMENT.read_text()
    for block in re.findall(r"(?:^ {4,}\S.*\n)+", text, re.M):
        yield re.sub(r"\\\n\s*", "", block)


def section(name):
    text = DOCUMENT.read_text()
    return text.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]


def test_which_configuration_is_said_first_and_in_every_script():
    """Without it every command of the page ends with 2."""
    assert next(iter(blocks())).strip() == CONFIG_LINE
    for block in blocks():
        for line in block.splitlines():
            script = re.match(r"\s*(exec |ExecCondition=)?(/\S+/)?artifact-sync ", line) and not line.strip().startswith("#")
            typed = block.lstrip().startswith("artifact-sync") and len(block.splitlines()) < 3
            prompted = re.match(r"\s*([\w-]+)?# ", line)
            if script and not typed and not prompted:
                assert "--config" in line or CONFIG_LINE in block, line
            if re.search(r"artifact-sync init\b", line):
                assert "--config" in line, line


def test_commands_find_the_configuration_that_the_page_names(pair):
    pair.wait()
    answer = subprocess.run([shutil.which("sh"), "-c", f"{CONFIG_LINE.replace('/etc/artifact-sync/is.json', str(pair.active.config))}\n"
                             "artifact-sync status && artifact-sync ledger verify && artifact-sync role"],
                            env={**environment(), "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"},
                            capture_output=True, text=True, check=False)
    assert answer.returncode == DONE and answer.stdout.endswith("active\n"), answer


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_rotated_key_can_be_read_by_the_unit(make_pair, tmp_path):
    """The steps as they are printed, typed by root for a unit that runs as somebody else."""
    state = tmp_path / "state"
    state.mkdir()
    for directory in (state, *state.parents):
        directory.chmod(0o755)
    shutil.chown(state, "nobody")
    lines = re.findall(r"^ +region-b# (.*)$", re.sub(r"\\\n\s*", "", section("Rotating keys")), re.M)
    typed = [line.replace("runuser -u artifact-sync", "runuser -u nobody")
                 .replace("/var/lib/artifact-sync/is", str(state))
             for line in lines if "systemctl" not in line]
    answer = subprocess.run(["sh", "-e", "-c", "\n".join(typed)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer
    digits = re.search("^[0-9a-f]{64}", answer.stdout, re.M)[0]
    for name in ("node.key", "node.crt"):
        assert (state / name).owner() == "nobody" and not (state / name).stat().st_mode & 0o022, name
    assert (state / "node.key").stat().st_mode & 0o777 == 0o600
    assert make_pair().active.cli("pair", "--node", "b", "--fingerprint", f"sha256:{digits}").exit == DONE
