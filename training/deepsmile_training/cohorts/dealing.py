"""Dealing: patients into parts so that each part has its share of every stratum."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def deal(
    strata: Ints,
    shares: list[float],
    rng: np.random.Generator,
    *,
    leading: int | None = None,
    groups: Ints | None = None,
) -> Ints:
    """(P,) the part of each patient; `strata` is (P, L), one column per property to balance.

    Greedy, the largest group first and the rarest combination of strata first: each goes where
    its combination of the leading columns (by default all) lacks most, then that of all columns,
    then its single strata. Without groups every part has its share of each leading combination
    within one patient. Patients of a group stay together.
    """
    patients = len(strata)
    groups = np.arange(patients) if groups is None else groups  # (P,)
    firsts, _ = _combinations(strata[:, :leading])  # (P, F)
    combinations, rarity = _combinations(strata)  # (P, C), (P,)
    columns = [_one_hot(column) for column in strata.T]
    margins = np.concatenate([*columns, np.ones((patients, 1))], axis=1)  # (P, M)
    held = [_sum_by(groups, each) for each in (firsts, combinations, margins)]
    wanted = [_Ledger(each, shares) for each in held]
    size = np.bincount(groups)  # (G,)
    rarest = np.full(len(size), patients)  # (G,)
    np.minimum.at(rarest, groups, rarity)
    order = np.lexsort((rng.random(len(size)), rarest, -size))
    part = np.empty(len(size), np.int64)  # (G,)
    for group in order:
        costs = [ledger.cost(group) for ledger in wanted]  # each (K,)
        part[group] = np.lexsort((rng.random(len(shares)), *reversed(costs)))[0]
        for ledger in wanted:
            ledger.book(group, part[group])
    return part[groups]


class _Ledger:
    """What each part has of each category beyond its share, so far."""

    def __init__(self, held: Floats, shares: list[float]) -> None:
        """`held` is (G, C): how many of each category a group has."""
        totals = held.sum(axis=0)  # (C,)
        self._held = held
        self._weight = held / totals  # (G, C)
        self._excess: Floats = -np.outer(shares, totals)  # (K, C)

    def cost(self, group: int) -> Floats:
        """(K,) how much the squared misfit, relative to the totals, grows by part."""
        growth: Floats = self._excess @ self._weight[group]  # (K,)
        return growth.round(9)  # so that ties are ties

    def book(self, group: int, part: int) -> None:
        self._excess[part] += self._held[group]


def _sum_by(groups: Ints, held: Floats) -> Floats:
    total: Floats = np.zeros((groups.max() + 1, held.shape[1]))  # (G, C)
    np.add.at(total, groups, held)
    return total


def _one_hot(codes: Ints) -> Floats:
    values, index = np.unique(codes, return_inverse=True)
    return np.eye(len(values))[index]  # (P, values)


def _combinations(strata: Ints) -> tuple[Floats, Ints]:
    found, index, counts = np.unique(strata, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)  # (P,)
    return np.eye(len(found))[index], counts[index]
