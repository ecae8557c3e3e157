"""How a matrix is divided over the ranks that compute one model together, and what joins their results."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..contract import Collective, Part, Placement
from ..errors import SplitError

Kind: TypeAlias = Literal["rows", "columns", "heads"]


@dataclass(frozen=True, slots=True)
class Split:
    """Along rows (each rank makes some of the outputs), columns (each sums over some of the inputs), or heads.

    A share is made of whole units of `unit` numbers. Heads are rows in units of a head that must come out even; where
    there are fewer heads than ranks, neighbours hold the same one.
    """

    kind: Kind
    unit: int = 1

    @property
    def dim(self) -> int:
        return 1 if self.kind == "columns" else 0

    def part(self, size: int, place: Placement, name: str) -> Part | None:
        """This rank's share of `size` numbers; None where it is everything."""
        if place.world == 1:
            return None
        units = size // self.unit
        if self.kind == "heads" and units < place.world and place.world % units == 0:
            first = place.rank * units // place.world
            return Part(self.dim, first * self.unit, (first + 1) * self.unit)
        if units < place.world or (self.kind == "heads" and units % place.world):
            raise SplitError(name, place.world, f"it has {units} units of {self.unit}")
        start, stop = (units * rank // place.world * self.unit for rank in (place.rank, place.rank + 1))
        return Part(self.dim, start, stop)


def joining(place: Placement, name: str) -> Collective | None:
    """What joins the ranks' shares; None where there is one rank. Shares that nothing joins would be wrong results."""
    if place.world > 1 and place.collective is None:
        raise SplitError(name, place.world, "nothing joins what they compute")
    return place.collective if place.world > 1 else None
