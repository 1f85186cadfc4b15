"""Write Godot's pack files, which hold the files of a project."""

import hashlib
import struct

# The version of the format, and of the first engine that reads it.
FORMAT, ENGINE = 3, (4, 5, 0)
RELATIVE_OFFSETS = 2
HEADER_SIZE = 112


def pack(files: dict[str, str]) -> bytes:
    """Return a pack of these files, by their paths in the project."""
    contents, entries = b"", b""
    for path, text in files.items():
        content, name = text.encode(), path.encode()
        name += bytes(-len(name) % 4)
        entries += struct.pack("<I", len(name)) + name
        entries += struct.pack("<QQ", len(contents), len(content))
        entries += hashlib.md5(content).digest() + bytes(4)
        contents += content
    header = struct.pack("<4s5I", b"GDPC", FORMAT, *ENGINE, RELATIVE_OFFSETS)
    header += struct.pack("<QQ", HEADER_SIZE, HEADER_SIZE + len(contents))
    directory = struct.pack("<I", len(files)) + entries
    return header.ljust(HEADER_SIZE, b"\0") + contents + directory
