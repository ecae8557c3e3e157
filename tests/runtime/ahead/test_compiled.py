"""Steps are recorded once all their kernels are compiled, and not with what served in their place."""

from collections.abc import Callable

import pytest
from torch import Tensor

from unillm.models.contract import Batch
from unillm.models.ops import gpu
from unillm.models.ops.compiling import Backlog
from unillm.models.ops.cpu.tape import NotRecordable
from unillm.runtime.ahead.graphs import Graph
from unillm.tests.runtime.ahead.late import TapeRecorder, recorded_engine
from unillm.tests.runtime.ahead.models import DeviceModel
from unillm.tests.runtime.engines import engine_over, greedy


class Waiting(DeviceModel):
    """Wants a kernel that is not there for the first so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.backlog = steps, Backlog()

    def forward(self, batch: Batch) -> Tensor:
        self.steps -= 1
        if self.steps >= 0:
            self.backlog.miss("kernel", "kernel", lambda: None)
        return super().forward(batch)


def test_no_step_is_recorded_while_kernels_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Waiting(10)
    monkeypatch.setattr(gpu, "missed", lambda: model.backlog.missed)
    with engine_over(model) as engine:
        decodes = recorded_engine(engine)
        done = engine.generate([1, 2, 3], greedy(40))
        assert list(done.token_ids) == model.answer([1, 2, 3], 40)
        assert decodes.refused is None
        # a prompt, 9 steps without the kernel, one with it, and then the recorded ones: a key for each width of tables
        assert (decodes.recorded, decodes.replayed) == (1, 40 - 1 - 9 - 1 - 1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_record_for_which_a_kernel_was_missing_is_thrown_away(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Waiting(0)
    monkeypatch.setattr(gpu, "missed", lambda: model.backlog.missed)

    class Recorder(TapeRecorder):
        def __init__(self) -> None:
            self.missing = 3

        def record(self, work: Callable[[], None]) -> Graph:
            self.missing -= 1
            if self.missing >= 0:
                model.backlog.miss("kernel", "kernel", lambda: None)
                if fails:
                    raise NotRecordable("what served in its place reads the host")
            return super().record(work)

    with engine_over(model) as engine:
        decodes = recorded_engine(engine)
        decodes._recorder = Recorder()
        done = engine.generate([1, 2, 3], greedy(40))
        assert list(done.token_ids) == model.answer([1, 2, 3], 40)
        assert (decodes.refused, decodes.recorded) == (None, 1)
        assert decodes.replayed > 20
