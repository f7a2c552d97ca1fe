"""A judge of generated graphs: the label of the most similar real graphs under the Weisfeiler-Lehman kernel.

As the judge of pictures it is trained on real items alone, and its accuracy on real test graphs stands
beside what it says of generated ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from unitok.metrics import graphs
from unitok.values import Graph

STRETCH = 64  # graphs compared with the whole pool at a time


class GraphJudge:
    """Nearest neighbours (Cover and Hart 1967): of equally near ones the label that most of them have."""

    def __init__(self, pool: Sequence[Graph], labels: Sequence[str]) -> None:
        self.pool, self.labels = list(pool), list(labels)

    def recognise(self, values: Sequence[Graph]) -> list[str]:
        """The label of each graph.

        >>> path, star = Graph(4, [[0, 1], [1, 2], [2, 3]]), Graph(4, [[0, 1], [0, 2], [0, 3]])
        >>> GraphJudge([path, star], ["path", "star"]).recognise([Graph(5, [[4, 0], [4, 1], [4, 2], [4, 3]])])
        ['star']
        """
        out = []
        for start in range(0, len(values), STRETCH):
            for row in graphs.wl_kernel(list(values[start : start + STRETCH]), self.pool):
                near = Counter(
                    self.labels[i] for i in (row >= row.max() - 1e-9).nonzero()[0].tolist()
                )
                out.append(min(near, key=lambda label: (-near[label], label)))
        return out
