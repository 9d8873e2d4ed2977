#!/usr/bin/env python3
"""Proves that the simulation finds bugs: breaks something on purpose, and expects a world to fail.

    mutations.py SIM                      the mutations that the simulation's own glue knows
    mutations.py --protocol SOURCE_ROOT   mutations of protocol/, each compiled in a scratch directory

For each: the first seed whose world fails, the step at which it does, how many steps were run in all, and what was
said. Ends with 1 when one is not found.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SEEDS = 100
STEPS = 400000

# name: file, what stands there, what shall stand there
PROTOCOL = {
    "outbound: a local give-up counts as a denial": (
        "outbound_window.c", "	return again(ob, ticket, NEED_CONTENT);",
        "	ob->denials++;\n	return again(ob, ticket, NEED_CONTENT);"),
    "outbound: a denial of an abandoned ticket is not counted": (
        "outbound_window.c", "	ob->denials++;\n	return again(ob, ticket, need);",
        "	int r = again(ob, ticket, need);\n	ob->denials += r != -ENOENT;\n	return r;"),
    "outbound: a child goes before its directory": (
        "outbound.c", "	return above->pending->recreated || above->pending->order < entry->order;",
        "	return false;"),
    "outbound: a deletion does not wait for what is beneath": (
        "outbound.c", "place->pending_beneath > place->own_beneath", "false"),
    "outbound: a file does not wait for the deletions under way beneath": (
        "outbound.c", "!entry->item.deletion && place->under_way_beneath > 0", "false"),
    "outbound: a stream begins before its directory was sent": (
        "outbound.c", "entry->item.streamed && above->under_way && !above->under_way->sent", "false"),
    "outbound: a version keeps the place of the deletion it replaces": (
        "outbound.c", "bool anew = was_deletion && !entry->item.deletion;", "bool anew = false;"),
    "outbound: a path is under way twice": (
        "outbound.c", "if (place->under_way || waits_for_beneath(entry)) {", "if (waits_for_beneath(entry)) {"),
    "outbound: who is parked is not woken when an answer comes": (
        "outbound_window.c", "	place->under_way = NULL;\n	outbound_wake(ob, place);",
        "	place->under_way = NULL;"),
    "outbound: drained although a stream still runs": (
        "outbound.c", "	return ob->pending == 0 && ob->unsent == 0;", "	return ob->pending == 0;"),
    "outbound: the streams' window leaks": (
        "outbound_window.c", "	ob->streams -= entry->item.streamed;\n", ""),
    "inbound: a batch takes what is behind a barrier": (
        "inbound.c", "slot && slot->position <= end && n < max;", "slot && n < max;"),
    "inbound: a barrier does not wait for what is before it": (
        "inbound.c", "	if (ib->first && ib->first->position <= reached.position)\n		return 0;\n", ""),
    "inbound: a denial does not spoil the barriers behind it": (
        "inbound.c", "		ib->denials++;\n		spoil_barriers(ib, slot->position);",
        "		ib->denials++;"),
    "inbound: a crossing denial is not noticed": (
        "inbound.c", ".clean = denials == ib->denials", ".clean = true"),
    "inbound: denials are not counted": (
        "inbound.c", "		ib->denials++;\n", ""),
    "frame: a frame is given out before it is whole": (
        "frame.c", "	if (fr->len - fr->used - WIRE_HEADER_LEN < out->len)\n		return 0;\n", ""),
    "frame: what was not given out is lost when room is made": (
        "frame.c", "		memmove(fr->buffer, fr->buffer + fr->used, fr->len - fr->used);\n", ""),
    "lineage: compared by length alone": (
        "lineage.c", "while (n < n_ours && n < n_theirs && same_entry(&ours[n], &theirs[n]))",
        "while (n < n_ours && n < n_theirs && n + 1 < n_ours)"),
    "digest: removing adds": (
        "digest.c", "d->lane[i] - lane_of(element, i)", "d->lane[i] + lane_of(element, i)"),
    "record: the mode is not in the element": (
        "record.c", "	wr_u32(&w, record->mode);\n", ""),
    "handshake: a new node is refused": (
        "handshake.c", "	if ((fresh->flags & HELLO_POPULATED) && !(fresh->flags & HELLO_ADOPT)) {",
        "	if (fresh->flags & HELLO_POPULATED) {"),
    "handshake: the taker is not compared when it asks for it": (
        "handshake.c", "	if ((giver->flags | taker->flags) & HELLO_RECONCILING)",
        "	if (giver->flags & HELLO_RECONCILING)"),
    "messages: a tombstone loses its seq": (
        "messages_records.c", "	wr_u64(w, m->seq);\n	if (m->kind == RECORD_ABSENT)",
        "	wr_u64(w, m->kind == RECORD_ABSENT ? m->epoch : m->seq);\n	if (m->kind == RECORD_ABSENT)"),
}


def hunt(sim, *extra):
    """(seed, step, steps in all, what was said), or None."""
    total = 0
    for seed in range(1, SEEDS + 1):
        try:
            done = subprocess.run([sim, "--seed", str(seed), "--steps", str(STEPS), *extra], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return seed, 0, total, "runs for ever"
        found = re.search(r"FAILED seed \d+ step (\d+) time \S+ s: (.*)", done.stdout)
        if found:
            return seed, int(found[1]), total + int(found[1]), found[2]
        if done.returncode != 0:
            return seed, 0, total, f"exit {done.returncode}"
        total += STEPS
    return None


def report(name, found):
    if found:
        seed, step, total, said = found
        print(f"| {name} | {seed} | {step} | {total} | {said} |", flush=True)
    else:
        print(f"| {name} | - | - | {SEEDS * STEPS} | NOT FOUND |", flush=True)
    return found is not None


def glue(sim):
    names = subprocess.run([sim, "--list-mutations"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return [report(name, hunt(sim, "--mutate", name)) for name in names]


def compiled(root, scratch, file, old, new):
    """The simulation with one file of protocol/ broken."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(os.path.join(root, "protocol"), os.path.join(scratch, "protocol"))
    shutil.copytree(os.path.join(root, "tests", "sim"), os.path.join(scratch, "sim"))
    path = os.path.join(scratch, "protocol", file)
    with open(path, encoding="utf-8") as source:
        text = source.read()
    if text.count(old) != 1:
        sys.exit(f"{file}: \"{old.strip()}\" stands there {text.count(old)} times, not once: correct this script")
    with open(path, "w", encoding="utf-8") as source:
        source.write(text.replace(old, new))
    sources = [os.path.join(scratch, folder, name) for folder in ("protocol", "sim")
               for name in sorted(os.listdir(os.path.join(scratch, folder))) if name.endswith(".c")]
    program = os.path.join(scratch, "sim-mutated")
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-O2", "-w", "-D_GNU_SOURCE", "-I", scratch, "-I",
                    os.path.join(scratch, "sim"), "-o", program, *sources], check=True)
    return program


def protocol(root):
    results = []
    with tempfile.TemporaryDirectory(prefix="sim-mutations-") as top:
        for name, (file, old, new) in PROTOCOL.items():
            program = compiled(root, os.path.join(top, "one"), file, old, new)
            results.append(report(name, hunt(program)))
    return results


def main():
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        results = glue(sys.argv[1])
    elif len(sys.argv) == 3 and sys.argv[1] == "--protocol":
        results = protocol(sys.argv[2])
    else:
        sys.exit(__doc__)
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
