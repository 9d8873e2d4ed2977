"""What crosses the wire. The two promises about it are counted on an interface, headers and all."""

import os

import trees

MIB = 1 << 20


def bytes_to_converge(pair, change):
    pair.wait()
    before = pair.wire_bytes()
    change()
    pair.wait()
    return pair.wire_bytes() - before


def test_eight_bytes_changed_in_256_mib(make_pair, net, seed):
    pair = make_pair(net=net)
    path = pair.active.tree / "large.bin"
    trees.write_random(path, 256 * MIB, seed)
    pair.start()
    pair.converge(120)

    def change():
        with open(path, "r+b") as file:
            file.seek(123_456_789)
            file.write(b"8 bytes!")
    crossed = bytes_to_converge(pair, change)
    print(f"{crossed} bytes crossed the wire, {crossed / (256 * MIB):.5%} of the file")
    assert crossed < 0.01 * 256 * MIB
    pair.converge()


def test_a_directory_of_10000_files_renamed(make_pair, net, seed):
    count, size = 10_000, 4096
    pair = make_pair(net=net)
    trees.make_many(pair.active.tree / "before", count, size, per_directory=count, seed=seed)
    pair.start()
    pair.converge(120)
    content = pair.active.work("content_bytes_sent")

    crossed = bytes_to_converge(pair, lambda: os.rename(pair.active.tree / "before",
                                                        pair.active.tree / "after"))
    print(f"{crossed} bytes crossed the wire, {crossed / count:.0f} per file of {size}")
    # Names, attributes, references and acknowledgements cross twice per file (the new name, the
    # deletion of the old); a tenth of the content would be 4 MB.
    assert crossed < 400 * count
    assert pair.active.work("content_bytes_sent") == content
    pair.converge()
    assert not (pair.passive.tree / "before").exists()
    assert len(os.listdir(pair.passive.tree / "after" / "d0000")) == count


def test_a_copy_sends_no_content(proxied, seed):
    pair = proxied
    original = pair.active.tree / "original"
    trees.write_random(original, 8 * MIB, seed)
    pair.converge()
    sent = pair.active.work("content_bytes_sent")
    crossed = bytes_to_converge(
        pair, lambda: (pair.active.tree / "copy").write_bytes(original.read_bytes()))
    assert crossed < MIB
    assert pair.active.work("content_bytes_sent") == sent
    pair.converge()


def test_a_move_sends_no_content(proxied, seed):
    pair = proxied
    (pair.active.tree / "here").mkdir()
    trees.write_random(pair.active.tree / "here" / "file", 8 * MIB, seed)
    pair.converge()
    (pair.active.tree / "there").mkdir()
    crossed = bytes_to_converge(pair, lambda: os.rename(pair.active.tree / "here" / "file",
                                                        pair.active.tree / "there" / "renamed"))
    assert crossed < 200_000
    pair.converge()


def test_metadata_alone_sends_no_content(proxied, seed):
    pair = proxied
    path = pair.active.tree / "file"
    trees.write_random(path, 8 * MIB, seed)
    pair.converge()

    def change():
        path.chmod(0o600)
        os.setxattr(path, "user.note", b"changed")
        os.utime(path, ns=(10**18, 10**18 + 17))
    assert bytes_to_converge(pair, change) < 200_000
    pair.converge()


def test_what_compresses_is_compressed(proxied):
    pair = proxied
    pair.converge()
    text = b"".join(b"line %d of a log that compresses well\n" % number for number in range(200_000))
    crossed = bytes_to_converge(pair, lambda: (pair.active.tree / "log.txt").write_bytes(text))
    assert crossed < len(text) / 3
    pair.converge()


def test_a_file_that_grows_sends_its_end(proxied, seed):
    pair = proxied
    path = pair.active.tree / "growing"
    trees.write_random(path, 8 * MIB, seed)
    pair.converge()

    def change():
        with open(path, "ab") as file:
            file.write(os.urandom(1000))
    assert bytes_to_converge(pair, change) < MIB
    pair.converge()


def test_a_delta_that_saves_nothing_is_given_up(proxied, seed):
    """The file goes whole instead, and the trees are proven equal in the same session."""
    pair = proxied
    path = pair.active.tree / "rewritten"
    trees.write_random(path, 24 * MIB, seed)
    pair.converge()
    crossed = bytes_to_converge(pair, lambda: trees.write_random(path, 24 * MIB, seed + 1))
    print(f"{crossed} bytes crossed the wire for {24 * MIB}")
    # 16 MiB are looked at before the delta is judged.
    assert crossed < (24 + 18) * MIB
    pair.converge()


def test_a_small_change_does_not_wait_for_a_large_file(make_pair, seed):
    """Streams are multiplexed: 2 KiB written while 200 MiB are under way arrives first."""
    pair = make_pair(settings={"limits": {"rate_bytes_per_s": 2 * MIB}})
    pair.start()
    pair.converge()
    trees.write_random(pair.active.home / "large", 200 * MIB, seed)  # at once, and no part of it before
    (pair.active.home / "large").rename(pair.active.tree / "large")
    pair.active.wait_for("the large file is announced",
                         lambda s: s["peers"][0]["pending_bytes"] > 150 * MIB, 60)
    (pair.active.tree / "small").write_bytes(b"s" * 2048)
    pair.passive.wait_for("the small file is there",
                          lambda s: (pair.passive.tree / "small").exists(), 60)
    assert not (pair.passive.tree / "large").exists(), "the large file was too quick for this test"
    for node in pair.nodes:
        node.stop()
        node.configure(limits={})
        node.start()
    pair.converge(120)
    pair.assert_tidy()
