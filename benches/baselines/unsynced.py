"""Runs a command in which fdatasync, fsync and sync_file_range return 0 at once: what the very same
binary would do if disks took no time. A filter of system calls (seccomp) answers for the kernel.

    python3 unsynced.py COMMAND ARG…
"""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
ALLOW, DONE = 0x7FFF0000, 0x00050000  # the latter: an error of number 0
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
SYNCS = {"x86_64": (74, 75, 277), "aarch64": (82, 83, 84)}[os.uname().machine]

code = [(LOAD, 0, 0, 0)]
for place, number in enumerate(SYNCS):
    code.append((EQUAL, len(SYNCS) - place, 0, number))
code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, DONE)]
text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None, use_errno=True)
for args in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, FILTER, ctypes.byref(program))):
    if libc.prctl(*args, 0, 0) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
