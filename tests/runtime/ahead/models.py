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
        ids, noted = (part[view.table.long()][..., 0, 0].flatten(1) for part in (view.keys, view.values))
        places = torch.arange(ids.shape[1])
        there = places < batch.lengths[:, None]
        astray = (there & (noted != places)).sum(-1)
        shares = ((ids.long() + 1) * ((places + 1) * 31 % 101 + 1)).masked_fill(~there, 0)
        sums = (shares.cumsum(-1) + astray[:, None]) % BUCKETS
        owners = torch.searchsorted(batch.starts[1:].long(), torch.arange(len(batch.ids)), right=True)
        prints = sums[owners, batch.positions]
        return torch.stack((prints, batch.ids, batch.positions), 1).float()
