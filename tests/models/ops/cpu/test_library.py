"""The library is there where it can be, and says what it is."""

import pytest

from unillm.tests.models.ops.cpu import machine


def test_a_machine_with_a_compiler_has_the_kernels() -> None:
    if machine.compiler() is None:
        pytest.skip("there is no C++ compiler here")
    assert machine.found() is not None, "build them: python -m pip install -e ."


@machine.each_set
def test_every_instruction_set_opens_and_closes(instruction_set: str) -> None:
    context = machine.open_context(instruction_set)
    assert context.handle
    context.close()
    assert context.handle is None


def test_the_portable_kernels_are_the_last_resort() -> None:
    if machine.found() is None:
        pytest.skip("the CPU kernels are not built here")
    assert machine.sets()[-1] == "portable"


def test_an_unknown_instruction_set_is_refused_by_name() -> None:
    if machine.found() is None:
        pytest.skip("the CPU kernels are not built here")
    with pytest.raises(ValueError, match="'mmx'"):
        machine.open_context("mmx")
