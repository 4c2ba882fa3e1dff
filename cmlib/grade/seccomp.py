"""System calls that no answer needs and that reach past namespaces or deep into the kernel; inside the box
they end in EPERM.

A classic BPF program (Linux, ``Documentation/userspace-api/seccomp_filter.rst``). Numbers:
``asm/unistd_64.h`` and ``asm-generic/unistd.h``. On other machines than x86-64 and ARM64 there is no filter,
and the walls stand without it.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

# name: (x86-64, ARM64)
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),  # keyrings outlive a learner
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "personality": (135, 92),
    "syslog": (103, 116),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "swapon": (167, 224),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "fanotify_init": (300, 262),
    "clock_settime": (227, 112),
    "reboot": (169, 142),
    "vhangup": (153, 58),
}
SOCKET = (41, 198)
# UNIX and the internet, which network namespaces hold; AF_VSOCK, for one, speaks to the host of a virtual
# machine
FAMILIES = (1, 2, 10)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_…

# BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data (little-endian)
ALLOW, DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
X32 = 0x40000000  # the other calling convention of x86-64 has numbers of its own


def program(machine: str) -> bytes | None:
    """The filter as an array of ``struct sock_filter``, or None where this machine's numbers are not
    known.
    """
    if machine not in MACHINES:
        return None
    column, architecture = MACHINES[machine]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, DENY),
        (LOAD, 0, 0, NUMBER),
    ]
    for step, value in [(AT_LEAST, X32)] + [(EQUAL, numbers[column]) for numbers in DENIED.values()]:
        steps += [(step, 0, 1, value), (RETURN, 0, 0, DENY)]
    steps += [(EQUAL, 1, 0, SOCKET[column]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT)]
    for family in FAMILIES:
        steps += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    steps.append((RETURN, 0, 0, DENY))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def install(libc) -> None:
    """For this process and all that come of it; needs ``no_new_privs``. Raises OSError."""
    code = program(platform.machine())
    if code is None:
        return
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    # PR_SET_SECCOMP, MODE_FILTER
    if libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, ctypes.addressof(buffer))), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls can be installed")
