"""What all models of text have in common, whatever their layers: a head makes scores of the last states."""

from torch import Tensor

from ..contract import Loadable
from ..parts.vocabulary import Head


class Writer(Loadable):
    head: Head

    def logits(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.head(hidden)
        return scores
