"""The filter of system calls, run by an obvious interpreter for both kinds of machine."""

import struct

import pytest

from cmlib.grade import seccomp


def verdict(code: bytes, machine: int, number: int, argument: int = 0) -> int:
    steps = list(struct.iter_unpack("=HBBI", code))
    data, place, value = {0: number, 4: machine, 16: argument}, 0, 0
    while True:
        step, yes, no, k = steps[place]
        place += 1
        if step == seccomp.RETURN:
            return k
        if step == seccomp.LOAD:
            value = data[k]
        else:
            place += yes if (value == k if step == seccomp.EQUAL else value >= k) else no


@pytest.mark.parametrize("name", seccomp.MACHINES)
def test_what_is_denied_is_denied_and_the_rest_goes_on(name):
    column, machine = seccomp.MACHINES[name]
    code = seccomp.program(name)
    denied = {numbers[column] for numbers in seccomp.DENIED.values()}
    assert len(denied) == len(seccomp.DENIED)
    for number in range(460):
        if number != seccomp.SOCKET[column]:
            assert verdict(code, machine, number) == (seccomp.DENY if number in denied else seccomp.ALLOW), (
                number
            )
    allowed = [
        family
        for family in range(50)
        if verdict(code, machine, seccomp.SOCKET[column], family) == seccomp.ALLOW
    ]
    assert allowed == [1, 2, 10]
    assert verdict(code, machine ^ 1, 0) == seccomp.DENY
    assert verdict(code, machine, seccomp.X32 + 1) == seccomp.DENY
    assert len(code) // 8 < 4096


def test_another_machine_has_no_filter():
    assert seccomp.program("riscv64") is None
