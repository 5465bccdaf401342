"""A second implementation of the access log's files, written from docs/AUDIT.md alone, and the foreign verifier.

What the program reads is thereby not only what it wrote itself.
"""
import base64
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOREIGN = pathlib.Path(__file__).resolve().parents[1] / "foreign"
GO_PACKAGES = pathlib.Path("/usr/share/gocode")
ED25519, COSIGNATURE = b"\x01", b"\x04"


def sha256(text):
    return hashlib.sha256(text).digest()


def node(left, right):
    return sha256(b"\x01" + left + right)


def root_of(hashes):
    """The root over hashes, as RFC 6962 defines it."""
    if not hashes:
        return sha256(b"")
    while len(hashes) > 1:
        pairs = [node(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(hashes) & ~1:]
    return hashes[0]


def tile_name(level, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")


class Key:
    """A region's log key, from a seed."""

    def __init__(self, name, seed):
        self.name = name
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def id(self, kind):
        return sha256(self.name.encode() + b"\n" + kind + self.public)[:4]

    def verifier(self, kind=ED25519):
        return f"{self.name}+{self.id(kind).hex()}+{base64.b64encode(kind + self.public).decode()}"

    def line(self, kind, signature):
        return f"\u2014 {self.name} {base64.b64encode(self.id(kind) + signature).decode()}\n"

    def sign(self, text):
        return f"{text}\n{self.line(ED25519, self.private.sign(text.encode()))}"

    def cosign(self, text, seconds):
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        return self.line(COSIGNATURE, seconds.to_bytes(8, "big") + self.private.sign(message))


def checkpoint_text(origin, size, root):
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def write_log(folder, key, entries):
    """Writes the tiles and the checkpoint; returns the checkpoint's text."""
    folder = pathlib.Path(folder)

    def put(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    hashes = [sha256(b"\0" + entry) for entry in entries]
    root, level = root_of(hashes), 0
    while hashes:
        for start in range(0, len(hashes), 256):
            part = hashes[start:start + 256]
            put(tile_name(level, start // 256, len(part)), b"".join(part))
            if level == 0:
                put(tile_name("entries", start // 256, len(part)),
                    b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries[start:start + 256]))
        hashes = [root_of(hashes[i:i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1
    text = checkpoint_text(key.name, len(entries), root)
    put("checkpoint", key.sign(text).encode())
    return text


class Foreign:
    """tests/foreign/tlog_verify.go, compiled."""

    def __init__(self):
        if shutil.which("go") is None or not (GO_PACKAGES / "src/golang.org/x/mod").exists():
            pytest.skip("no Go or no golang-golang-x-mod-dev: make deps installs them")
        self.folder = tempfile.mkdtemp(prefix="homeward-go-")
        self.program = os.path.join(self.folder, "tlog_verify")
        subprocess.run(["go", "build", "-o", self.program, str(FOREIGN / "tlog_verify.go")], check=True, timeout=300,
                       env={**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": f"{self.folder}/cache",
                            "GOPATH": f"{self.folder}:{GO_PACKAGES}"})

    def verify(self, folder, key):
        """Whether it finds the log good, and what it says."""
        done = subprocess.run([self.program, str(folder), key], capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 1) and done.stderr == "", done
        assert (done.returncode == 0) == done.stdout.startswith("ok "), done.stdout
        return done.returncode == 0, done.stdout

    def remove(self):
        shutil.rmtree(self.folder)
