"""Checks a ledger's evidence with a package that shares no code with Spanner.

Every tile is held against the signed root, every entry of the segments against its leaf,
every shipped checkpoint against the newest, and every proof against its checkpoint. Then one
byte is changed at a time, and all must notice.
"""

import base64
import json
import pathlib
import struct
import sys

import aics_tlog as tlog

HEADER, FRAME = 64, 24


def entries(ledger):
    """The JSON of each entry, from the segments, in order."""
    for segment in sorted(ledger.glob("*.seg")):
        data = segment.read_bytes()
        at, sequence = HEADER, int(segment.stem)
        while at < len(data):
            length, _, number, _ = struct.unpack_from("<IIQQ", data, at)
            assert number == sequence, f"{segment}: {number} for {sequence}"
            yield data[at + FRAME : at + FRAME + length]
            at, sequence = at + FRAME + length, sequence + 1


def verified(text, key):
    """A checkpoint: origin, size and root, once its signature is verified."""
    note = tlog.parse_note(text)
    result = tlog.verify_checkpoint(note, key, expected_origin=key.name)
    assert result.ok, result.error
    return tlog.parse_checkpoint(note.text)


def notes(text):
    """The checkpoints of a file, separated by blank lines."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    pairs = zip(blocks[::2], blocks[1::2])
    return [f"{body.lstrip()}\n\n{signatures}\n" for body, signatures in pairs]


def check(ledger, shipped, proofs):
    key = tlog.parse_vkey((ledger / "vkey").read_text().strip())
    newest = verified((ledger / "checkpoint").read_text(), key)
    size, root = newest.size, newest.root
    reader = tlog.FileSystemTileReader(ledger)
    tlog.audit_tiles(reader, size, root, entries=False)

    count = 0
    for index, entry in enumerate(entries(ledger)):
        if index % 997 == 0 or index >= size - 300:
            proof = tlog.inclusion_proof_from_tiles(reader, index, size)
            assert tlog.verify_leaf_inclusion(entry, index, size, proof, root), index
        leaf = leaves(reader, index, size)
        assert tlog.leaf_hash(entry) == leaf, f"entry {index} is not its leaf"
        count += 1
    assert count == size, f"{count} entries, {size} signed"

    checkpoints = [verified(note, key) for note in notes(shipped.read_text())]
    for old in checkpoints:
        proof = tlog.consistency_proof_from_tiles(reader, old.size, size)
        assert tlog.verify_consistency(old.size, size, old.root, root, proof), old.size

    lines = [json.loads(line) for line in proofs.read_text().splitlines()]
    for proof in lines:
        check_proof(proof, key)
    return count, len(checkpoints), len(lines)


TILES = {}


def leaves(reader, index, size):
    """The hash of one leaf, from a tile of level 0."""
    tile = index // 256
    if tile not in TILES:
        TILES.clear()
        width = size - tile * 256
        TILES[tile] = reader.read_tile(0, tile, width if width < 256 else None)
    at = index % 256 * 32
    return TILES[tile][at : at + 32]


def check_proof(proof, key):
    hashes = [base64.b64decode(hash, validate=True) for hash in proof["hashes"]]
    if proof["proof"] == "consistency":
        old, new = verified(proof["from"], key), verified(proof["to"], key)
        ok = tlog.verify_consistency(old.size, new.size, old.root, new.root, hashes)
        assert ok, f"{old.size} to {new.size}"
        return
    head = verified(proof["checkpoint"], key)
    entry = proof["entry"].encode()
    assert tlog.leaf_hash(entry) == base64.b64decode(proof["leaf"])
    assert proof["size"] == head.size
    ok = tlog.verify_leaf_inclusion(entry, proof["index"], head.size, hashes, head.root)
    assert ok, proof["index"]


def notices(ledger, shipped, proofs, file, at):
    """Whether a changed byte is detected."""
    data = file.read_bytes()
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    TILES.clear()
    try:
        check(ledger, shipped, proofs)
    except Exception:  # Whatever it says, it noticed.
        return True
    finally:
        file.write_bytes(data)
    return False


def main():
    ledger, shipped, proofs = map(pathlib.Path, sys.argv[1:])
    count, checkpoints, proven = check(ledger, shipped, proofs)
    first = next(iter(sorted(ledger.glob("*.seg"))))
    spots = [
        (ledger / "checkpoint", 60),
        (ledger / "tile/0/000", 77 * 32),
        (ledger / "tile/1/000", 5 * 32),
        (first, HEADER + FRAME + 20),
        (proofs, proofs.read_text().index('"hashes":["') + 13),
    ]
    for file, at in spots:
        assert notices(ledger, shipped, proofs, file, at), f"{file} was changed at {at}"
    print(f"{count} entries, {checkpoints} shipped checkpoints, {proven} proofs: checked")
    print(f"{len(spots)} changes: noticed")


main()
