#!/usr/bin/env python3
"""Verifies a NEXUS journal without any code of the daemon.

    verify.py DATA_FOLDER      prints one line; exit 0 when all is well, 1 with the first bad sequence number, 2 usage

Checked: framing and encoding of every line, sequence numbers from 1 without a gap, the batch rule (a record begins a
batch or belongs to the one before it), the SHA-256 chain over all segments, names and opening records of segments,
the ids of missions and that none is created twice. A journal that was compacted begins late, with the opening record
of a segment; then one of its later records must tell that what lay before was compacted, with the same hash.
"""
import hashlib
import json
import os
import re
import sys

LINE_MAX = 64 * 1024
SEAL = re.compile(rb',"h":"([0-9a-f]{64})"\}\n')
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MISSION = re.compile(r"m-[0-9a-z]{26}")
SEGMENT = re.compile(r"(\d{12,16})\.jsonl")
KINDS = {"key", "token", "local", "anonymous", "module", "daemon", "healer", "chaos", "scheduler"}


class Bad(Exception):
    def __init__(self, seq, file, offset, reason):
        super().__init__(f"seq {seq}: {file} at byte {offset}: {reason}")


def no_duplicates(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key stands twice")
    return dict(pairs)


def files_of(root):
    folder = os.path.join(root, "audit")
    sealed = []
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            found = SEGMENT.fullmatch(name)
            if found:
                sealed.append((int(found.group(1)), "audit/" + name))
    files = sorted(sealed)
    if os.path.lexists(os.path.join(root, "audit.jsonl")):
        files.append((None, "audit.jsonl"))
    return files


def beginning(root, files):
    """The record before the first one that is there, as the opening record of its segment names it."""
    try:
        with open(os.path.join(root, files[0][1]), "rb") as file:
            record = json.loads(file.readline(LINE_MAX + 1))
        body = record["d"]
        if record["seq"] == 1 or record["type"] != "journal.segment_opened":
            return None
        return (body["sealed"], body["bytes"], body["last_seq"], body["last_h"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def verify(root):
    seq, batch, previous = 0, 0, "0" * 64
    files = files_of(root)
    before = beginning(root, files)
    anchor = None
    if before is not None:
        anchor = before[2:]
        seq, batch, previous = before[2], before[2], before[3]
    compacted = set()
    created = set()
    for first, name in files:
        if first is not None and first != seq + 1:
            raise Bad(seq + 1, name, 0, f"the segment should begin with {seq + 1}")
        offset = 0
        path = os.path.join(root, name)
        if not os.path.isfile(path):
            raise Bad(seq + 1, name, 0, "not a file")
        with open(path, "rb") as file:
            while True:
                line = file.readline(LINE_MAX + 1)
                if not line:
                    break
                due = seq + 1

                def need(claim, reason):
                    if not claim:
                        raise Bad(due, name, offset, reason)

                need(len(line) <= LINE_MAX, "the line is too long")
                need(line.endswith(b"\n"), "the line does not end")
                seal = SEAL.fullmatch(line[-73:])
                need(seal, "the line does not end with a hash")
                try:
                    record = json.loads(line.decode("utf-8", "strict"), object_pairs_hook=no_duplicates)
                except (ValueError, RecursionError) as error:
                    raise Bad(due, name, offset, f"not a record ({type(error).__name__})") from None
                need(isinstance(record, dict), "not an object")
                keys = [key for key in record if key not in ("mid", "ep")]
                need(keys == ["v", "seq", "b", "ts", "type", "actor", "d", "h"], "other fields, or another order")
                need(record["v"] == 1, "another format version")
                need(record["seq"] == due and type(record["seq"]) is int, f"the sequence number is {record['seq']}")
                need(record["b"] in (due, batch) and record["b"] > 0, f"batch {record['b']} follows batch {batch}")
                need(isinstance(record["ts"], str) and STAMP.fullmatch(record["ts"]), "not a time stamp")
                need(isinstance(record["type"], str) and record["type"], "no type")
                actor = record["actor"]
                need(isinstance(actor, dict) and set(actor) == {"kind", "name"} and actor["kind"] in KINDS, "no actor")
                need(isinstance(record["d"], dict), "no body")
                sum_ = hashlib.sha256(previous.encode() + line[:-73]).hexdigest()
                need(sum_ == record["h"], "the hash does not fit")
                if "mid" in record:
                    need(isinstance(record["mid"], str) and MISSION.fullmatch(record["mid"]), "not the id of a mission")
                if record["type"] == "mission.created":
                    need(record.get("mid") not in created, "this mission was created before")
                    created.add(record.get("mid"))
                if record["type"] in ("journal.compacted", "journal.repaired"):
                    compacted.update((gone["last_seq"], gone["last_h"]) for gone in record["d"]["segments"])
                if offset == 0 and before is not None:
                    body = record["d"]
                    need(record["type"] == "journal.segment_opened", "the segment does not begin with its opening record")
                    told = (body.get("sealed"), body.get("bytes"), body.get("last_seq"), body.get("last_h"))
                    need(told == before, "the opening record tells of another segment before it")
                seq, batch, previous = due, record["b"], record["h"]
                offset += len(line)
        if first is not None and offset == 0:
            raise Bad(seq + 1, name, 0, "a sealed segment is empty")
        before = (name, offset, seq, previous)
    if anchor is not None and anchor not in compacted:
        raise Bad(1, files[0][1], 0, f"the records 1 to {anchor[0]} are missing, and were not compacted")
    return seq, previous


def main(arguments):
    if len(arguments) != 1 or not os.path.isdir(arguments[0]):
        print(__doc__.strip().splitlines()[2].strip(), file=sys.stderr)
        return 2
    try:
        seq, last = verify(arguments[0])
    except Bad as bad:
        print(f"bad: {bad}")
        return 1
    print(f"ok: {seq} records, last {last}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
