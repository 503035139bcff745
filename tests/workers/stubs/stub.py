"""A recipe without a model: it draws one colour, from the shared generators, and misbehaves where the prompt says so.

It needs nothing but the standard library, not even Pillow: its image is what the worker asks of one.
"""

import os
import random
import struct
import subprocess
import sys
import time
import zlib

from fairbench_worker import Refused


class Picture:
    """The part of a PIL image that a worker uses: one colour everywhere."""

    def __init__(self, size, colour):
        self.size, self.colour = size, colour

    def save(self, path, format, compress_level):  # noqa: A002
        width, height = self.size
        rows = (b"\0" + bytes(self.colour) * width) * height
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, compress_level)), (b"IEND", b"")]
        with open(path, "wb") as out:
            out.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in parts:
                out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def load(repository, weights, settings, device):
    print("loading on", device, "from", repository or "nowhere", "with", sorted(weights))
    if "pids" in settings:
        with open(settings["pids"], "a") as out:
            out.write(f"{os.getpid()}\n")
    time.sleep(settings.get("seconds_to_load", 0))
    if settings.get("fails_to_load"):
        raise RuntimeError("no kernel image is available")
    return Stub(settings)


class Stub:
    def __init__(self, settings):
        self.settings = settings
        self.drawn = 0

    def generate(self, prompt, seed, width, height):
        self.drawn += 1
        for word in prompt.split():
            act = getattr(self, "do_" + word.strip(".,"), None)
            if act is not None:
                act()
        brightness = self.settings.get("brightness", 1.0)
        colour = [int(256 * random.random() * brightness) for _ in range(3)]
        return Picture((width, height), colour)

    def once(self):
        """Whether this happens for the first time in this test, in whichever process."""
        try:
            os.close(os.open(self.settings["once"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def do_print(self):
        print("noise on stdout", flush=True)
        os.system("echo noise of a subprocess")
        os.write(1, b"noise on descriptor 1\n")

    def do_crash(self):
        os.kill(os.getpid(), 11)

    def do_crashonce(self):
        if self.once():
            os.kill(os.getpid(), 11)

    def do_hang(self):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(self.settings["pids"], "a") as out:
            out.write(f"{os.getpid()} {child.pid}\n")
        time.sleep(600)

    def do_refuse(self):
        raise Refused("I would rather talk about it.")

    def do_raise(self):
        raise ValueError("a bad prompt")

    def do_nothing(self):
        self.generate = None

    def do_shout(self):
        for _ in range(200):
            sys.stderr.write("x" * 99999 + "\n")
        sys.stderr.write("the last words\n")

    def do_babble(self):
        os.write(int(sys.argv[2]), b"Downloading: 100%\n")

    def do_flood(self):
        os.write(int(sys.argv[2]), b"x" * 60000)
        while True:
            os.write(int(sys.argv[2]), b"x" * 60000)

    def do_leave(self):
        os._exit(0)

    def do_memory(self):
        class OutOfMemoryError(RuntimeError):
            pass

        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def do_slowly(self):
        time.sleep(0.2)
