"""What a disk may hold after a power cut: built from a journal of record_io.c.

The disk keeps what a completed sync covered. Of what was written later it may keep any 512 bytes and lose
any others, in any order, and of several writes to the same 512 bytes any version. Names (making, renaming,
removing) are kept in order, and certain after a sync that covers them, for which there are two kinds of
disk:

  journal   any completed sync makes all earlier names certain (ext4, xfs, btrfs in practice)
  strict    only a sync of the directory does, and a file whose name survived may still be empty (POSIX)
"""

import collections
import os
import struct

ENTRY = struct.Struct("<IIQqQ")
CREATE, WRITE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR, SIZE = range(1, 10)
NAMES = (CREATE, RENAME, UNLINK, MKDIR, RMDIR)
SECTOR = 512

Op = collections.namedtuple("Op", "kind inode at id data end")  # end: bytes of the journal up to here


def read_journal(path):
    with open(path, "rb") as f:
        data = f.read()
    out, at = [], 0
    while at + ENTRY.size <= len(data):
        kind, n, inode, where, ident = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        if at + n > len(data):
            break
        out.append(Op(kind, inode, where, ident, data[at:at + n], at + n))
        at += n
    return out


def end_with_a_whole_entry(path):
    """A kill may cut an entry short, and what the next server appends would be taken for its rest. The change
    itself was not made: an entry with bytes is written before it."""
    entries = read_journal(path)
    os.truncate(path, entries[-1].end if entries else 0)


class File:
    """One file's contents through time."""

    def __init__(self, content=b"", created=-1):
        self.base = content
        self.created = created
        self.writes = []  # (index in the journal, offset, bytes)
        self.sizes = []   # (index, size)
        self.syncs = []   # (index of the begin, index of the end)

    def synced(self, cut):
        return max((b for b, e in self.syncs if e <= cut), default=-1)

    def kept(self, cut):
        """Bytes from the start that are on disk for certain, of a file that is only appended to."""
        certain = self.synced(cut)
        return max((at + len(b) for i, at, b in self.writes if i < certain), default=0)

    def image(self, cut, dice, keep, strict):
        certain = self.synced(cut)
        size = len(self.base)
        for index, to in self.sizes:
            # In a journal the size stands in order with the names; strictly it needs a sync of the file.
            if index <= cut and (not strict or index < certain or dice.random() < keep):
                size = to
        writes = [w for w in self.writes if w[0] <= cut + 1]  # the next one may have been under way
        grown = max([at + len(b) for i, at, b in writes if i < certain], default=0)
        for i, at, b in writes:
            if i <= cut and dice.random() < keep:
                grown = max(grown, at + len(b))
        size = max(size, grown)
        out = bytearray(self.base[:size].ljust(size, b"\0"))
        pending = collections.defaultdict(list)  # sector: [(bytes from, bytes)]
        for index, at, data in writes:
            if index < certain:
                out[at:at + len(data)] = data
                continue
            while data:
                n = min(SECTOR - at % SECTOR, len(data))
                pending[at // SECTOR].append((at, data[:n]))
                at, data = at + n, data[n:]
        for versions in pending.values():
            for at, data in versions[:sum(dice.random() < keep for _ in versions)]:
                out[at:at + len(data)] = data
        return bytes(out[:size])


class History:
    """All files below `state` from a copy made before the recording, and the journal."""

    def __init__(self, state, before, journal):
        self.state = state
        self.ops = read_journal(journal)
        self.start = {}  # path below state: File
        self.dirs = {""}
        for top, dirs, files in os.walk(before):
            below = os.path.relpath(top, before)
            for name in files:
                with open(os.path.join(top, name), "rb") as f:
                    self.start[os.path.normpath(os.path.join(below, name))] = File(f.read())
            self.dirs.update(os.path.normpath(os.path.join(below, d)) for d in dirs)
        self._read()

    def below(self, path):
        path = path.decode()
        return os.path.relpath(path, self.state) if path.startswith(self.state + "/") else \
            "" if path == self.state else None

    def _read(self):
        self.names = []      # (index, kind, path, other path or File)
        self.dir_syncs = []  # (index of begin, index of end, directory)
        self.syncs = []      # (begin, end)
        live, begun = {}, {}  # inode: File; id of a sync: (index, inode, path)
        paths = dict(self.start)
        for index, op in enumerate(self.ops):
            if op.kind == CREATE:
                path = self.below(op.data)
                if path is None:
                    live.pop(op.inode, None)
                    continue
                live[op.inode] = paths[path] = File(created=index)
                self.names.append((index, CREATE, path, live[op.inode]))
            elif op.kind == RENAME:
                old, new = (self.below(p) for p in op.data.split(b"\0"))
                if old is not None:
                    self.names.append((index, RENAME, old, new))
                    paths[new] = paths.pop(old, None)
            elif op.kind in NAMES:
                path = self.below(op.data)
                if path is not None:
                    self.names.append((index, op.kind, path, None))
            elif op.kind == SYNC_BEGIN:
                begun[op.id] = (index, op.inode, self.below(op.data))
                if op.inode not in live and paths.get(begun[op.id][2]):
                    live[op.inode] = paths[begun[op.id][2]]  # from before the recording
            elif op.kind == SYNC_END and op.at == 0:
                begin, inode, path = begun.pop(op.id)
                self.syncs.append((begin, index))
                if inode in live:
                    live[inode].syncs.append((begin, index))
                elif path is not None:
                    self.dir_syncs.append((begin, index, path))
            elif op.kind == WRITE and op.inode in live:
                live[op.inode].writes.append((index, op.at, op.data))
            elif op.kind == SIZE and op.inode in live:
                live[op.inode].sizes.append((index, op.at))

    def position(self, cut):
        """Bytes of the journal up to and with operation `cut`."""
        return self.ops[cut].end

    def surviving_names(self, cut, dice, strict):
        happened = [n for n in self.names if n[0] <= cut]
        if not strict:
            certain = max((b for b, e in self.syncs if e <= cut), default=-1)
            sure = sum(n[0] < certain for n in happened)
            return happened[:dice.choice((sure, len(happened), dice.randint(sure, len(happened))))]
        kept = []
        for parent in sorted({os.path.dirname(n[2]) for n in happened}):
            here = [n for n in happened if os.path.dirname(n[2]) == parent]
            certain = max((b for b, e, d in self.dir_syncs if e <= cut and d == parent), default=-1)
            sure = sum(n[0] < certain for n in here)
            kept += here[:dice.choice((sure, len(here), dice.randint(sure, len(here))))]
        return sorted(kept, key=lambda n: n[0])

    def write(self, where, cut, dice, strict):
        """Make the image of a power cut right after operation `cut`. Returns {path: File} of what is in it."""
        files, dirs = dict(self.start), set(self.dirs)
        for _, kind, path, other in self.surviving_names(cut, dice, strict):
            if os.path.dirname(path) not in dirs:
                continue
            if kind == CREATE:
                files[path] = other
            elif kind == MKDIR:
                dirs.add(path)
            elif kind == RENAME and path in files:
                files[other] = files.pop(path)
            elif kind == UNLINK:
                files.pop(path, None)
            elif kind == RMDIR:
                dirs.discard(path)
        keep = dice.choice((0.0, 0.02, 0.1, 0.5, 0.9, 0.98, 1.0))
        for d in sorted(dirs):
            os.makedirs(os.path.join(where, d), exist_ok=True)
        for path, file in files.items():
            with open(os.path.join(where, path), "wb") as f:
                f.write(file.image(cut, dice, keep, strict))
        return files
