"""The fake model as a device would compute it: of tensors alone, with nothing read on the host."""

import torch
from torch import Tensor

from unillm.models.contract import Batch
from unillm.tests.runtime.fakes import BUCKETS, FakeModel


class DeviceModel(FakeModel):
    """Says what the fake says, as long as every page, slot, position and length is right; else something else."""

    def forward(self, batch: Batch) -> Tensor:
        for view in batch.cache:
            pages, places = view.slots // view.keys.shape[1], view.slots % view.keys.shape[1]
            kept = torch.stack((batch.ids.float(), batch.positions.float()), 1)
            view.keys[pages, places, 0, 0] = kept[:, 0]
            view.values[pages, places, 0, 0] = kept[:, 1]
        view = batch.cache[-1]
        rows, tables = len(view.table), view.table.reshape(-1)
        ids, noted = (part.index_select(0, tables)[..., 0, 0].reshape(rows, -1) for part in (view.keys, view.values))
        places = torch.arange(ids.shape[1])
        there = places < batch.lengths[:, None]
        astray = (there & (noted != places)).sum(-1)
        shares = ((ids.long() + 1) * ((places + 1) * 31 % 101 + 1)).masked_fill(~there, 0)
        sums = (shares.cumsum(-1) + astray[:, None]) % BUCKETS
        owners = torch.searchsorted(batch.starts[1:].long(), torch.arange(len(batch.ids)), right=True)
        prints = sums.view(-1).index_select(0, owners * sums.shape[1] + batch.positions)
        return torch.stack((prints, batch.ids, batch.positions), 1).float()

    def logits(self, hidden: Tensor) -> Tensor:
        scores = self.scores.index_select(0, hidden[:, 0].long())
        for token, value in self.poison.items():
            scores[:, 7].masked_fill_(hidden[:, 1] == token, value)
        for place, token in enumerate(self.script, 1):
            scores[:, token].masked_fill_(hidden[:, 2] == place, 100.0)
        return scores
