"""Molecules: SMILES to graph and back through RDKit (extra `chem`), stereochemistry included.

A node label packs an atom, an edge label a bond (Kekulé form: no aromatic bonds), so that common atoms
are small numbers: carbon is 6. Handedness is relative to an order of the neighbours, which a graph does
not have; here it is relative to the neighbours sorted by what they are (element, charge, hydrogens,
isotope). Where two of them are alike, a locant in the label tells them apart: a colour, unlike for
atoms that some stereo centre has to distinguish. So nothing depends on how the nodes are numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from unitok.errors import InputError
from unitok.values import Graph, ValueRefused

# atom label = element + 128 * (handedness + 3 * (charge + 31 * (hydrogens + 10 * (locant + 16 * isotope))))
ELEMENTS, HANDS, CHARGES, HYDROGENS, LOCANTS, ISOTOPES = 128, 3, 31, 10, 16, 1000
# bond label = order + 8 * geometry (0 none, 1 cis, 2 trans, of the first neighbours of its ends)
ORDERS, GEOMETRIES = 8, 3
BOND_ORDERS = ("SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE", "ZERO", "HYDROGEN")
DATIVE_UP, DATIVE_DOWN = 6, 7  # from the end that sorts first, and towards it
# RDKit recurses along chains (20,000 atoms end the process) and finds rings in more than square time
MAX_LENGTH = 5_000  # characters of a SMILES
MAX_ATOMS, MAX_RINGS = 2_000, 100

Atom = tuple[int, int, int, int]  # element, charge code, hydrogen code, isotope


@cache
def _rdkit() -> Any:
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        raise InputError(
            "SMILES: RDKit is not installed; run `pip install 'unitok-jax[chem]'`"
        ) from None
    return Chem, rdBase


def from_smiles(smiles: str) -> Graph:
    """The molecule as an undirected graph with node and edge labels.

    Raises ValueRefused where RDKit cannot parse it, for one too large, and for what the labels cannot hold (atom maps,
    stereo other than tetrahedral and cis/trans): no molecule is changed in silence. InputError
    without RDKit.
    """
    chem, base = _rdkit()
    if len(smiles) > MAX_LENGTH:
        raise ValueRefused(
            f"SMILES {_short(smiles)}: {len(smiles)} characters, more than {MAX_LENGTH}; "
            "take smaller molecules"
        )
    with base.BlockLogs():
        mol = chem.MolFromSmiles(smiles, sanitize=False)  # quick: no rings are looked for yet
        if mol is not None:
            _require_size(chem, mol, f"SMILES {_short(smiles)}")
            mol = chem.MolFromSmiles(smiles)
        if mol is None:
            raise ValueRefused(f"SMILES {_short(smiles)}: RDKit cannot parse it; check the string")
        canonical = chem.MolToSmiles(mol)
        chem.Kekulize(mol, clearAromaticFlags=True)
        graph = _graph_of(chem, mol)
    if to_smiles(graph) != canonical:
        raise ValueRefused(
            f"SMILES {_short(smiles)}: holds something the graph cannot (atom maps, or stereo that "
            "is neither tetrahedral nor cis/trans); remove it"
        )
    return graph


def to_smiles(graph: Graph) -> str:
    """Canonical isomeric SMILES. Raises ValueRefused where the graph is no molecule; InputError without RDKit."""
    chem, base = _rdkit()
    if graph.directed or graph.node_labels is None:
        raise ValueRefused(
            "Graph: no molecule; want an undirected graph with labels from from_smiles"
        )
    if graph.num_nodes > MAX_ATOMS or graph.num_edges > MAX_ATOMS + MAX_RINGS:
        raise ValueRefused(
            f"Graph: {graph.num_nodes} atoms and {graph.num_edges} bonds; "
            f"a molecule has no more than {MAX_ATOMS} atoms and {MAX_RINGS} rings"
        )
    if graph.edge_labels is None and graph.num_edges:
        raise ValueRefused("Graph.edge_labels: missing; a molecule's say the bond orders")
    with base.BlockLogs():
        try:
            return chem.MolToSmiles(_mol_of(chem, graph))
        except ValueRefused:
            raise
        except (ValueError, RuntimeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueRefused(f"Graph: no molecule ({reason})") from None


def _require_size(chem: Any, mol: Any, name: str) -> None:
    """Raises ValueRefused for more atoms or rings than RDKit sanitises in a moment."""
    atoms = mol.GetNumAtoms()
    rings = mol.GetNumBonds() - atoms + len(chem.GetMolFrags(mol))
    if atoms > MAX_ATOMS or rings > MAX_RINGS:
        raise ValueRefused(
            f"{name}: {atoms} atoms and {rings} rings, "
            f"more than {MAX_ATOMS} and {MAX_RINGS}; take smaller molecules"
        )


# ---- molecule to graph --------------------------------------------------------------------


def _graph_of(chem: Any, mol: Any) -> Graph:
    atoms = _atoms(chem, mol)
    neighbours = [[b.GetOtherAtomIdx(a.GetIdx()) for b in a.GetBonds()] for a in mol.GetAtoms()]
    hands = [_hand(chem, atom) for atom in mol.GetAtoms()]
    bonds = [_bond(bond) for bond in mol.GetBonds()]

    alike = [neighbours[i] for i, hand in enumerate(hands) if hand]
    for (begin, end), order, geometry, _ in bonds:
        if geometry:
            alike += [_others(neighbours, begin, end), _others(neighbours, end, begin)]
        if order >= DATIVE_UP:
            alike.append([begin, end])
    locants = _locants(atoms, alike)
    keys = [(*atom, locant) for atom, locant in zip(atoms, locants)]

    labels = []
    for atom, locant, hand, around in zip(atoms, locants, hands, neighbours):
        odd = _is_odd([keys[i] for i in around]) if hand else False
        labels.append(_pack_atom(atom, locant, 3 - hand if odd else hand))
    edge_labels = []
    for (begin, end), order, geometry, references in bonds:
        if geometry:
            first = (_first(neighbours, keys, begin, end), _first(neighbours, keys, end, begin))
            differing = (references[0] != first[0]) + (references[1] != first[1])
            geometry = 3 - geometry if differing == 1 else geometry
        if order == DATIVE_UP and keys[begin] > keys[end]:
            order = DATIVE_DOWN
        edge_labels.append(order + ORDERS * geometry)
    edges = np.array([pair for pair, *_ in bonds], np.int64).reshape(-1, 2)
    return Graph(
        mol.GetNumAtoms(),
        edges,
        node_labels=np.array(labels, np.int64),
        edge_labels=np.array(edge_labels, np.int64),
    )


def _atoms(chem: Any, mol: Any) -> list[Atom]:
    """Hydrogen code 0: as many as its valence has by default; else their number and 1."""
    plain = chem.RWMol(mol)
    for atom in plain.GetAtoms():
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
        atom.SetNumRadicalElectrons(0)
    plain.UpdatePropertyCache(strict=False)
    atoms = []
    for atom, default in zip(mol.GetAtoms(), plain.GetAtoms()):
        count, charge = atom.GetTotalNumHs(), atom.GetFormalCharge()
        usual = count == default.GetTotalNumHs() and atom.GetNumRadicalElectrons() == 0
        charge_code = 2 * abs(charge) - (charge < 0)
        code = 0 if usual else count + 1
        if charge_code >= CHARGES or code >= HYDROGENS or atom.GetIsotope() >= ISOTOPES:
            raise ValueRefused(f"SMILES: an atom of charge {charge} with {count} hydrogens")
        atoms.append((atom.GetAtomicNum(), charge_code, code, atom.GetIsotope()))
    return atoms


def _hand(chem: Any, atom: Any) -> int:
    """0 none, 1 counter-clockwise, 2 clockwise, in the order of the atom's bonds."""
    tags = (chem.ChiralType.CHI_TETRAHEDRAL_CCW, chem.ChiralType.CHI_TETRAHEDRAL_CW)
    tag = atom.GetChiralTag()
    return tags.index(tag) + 1 if tag in tags else 0


def _bond(bond: Any) -> tuple[tuple[int, int], int, int, list[int]]:
    """Ends, order, geometry, and the neighbours that the geometry is told of."""
    kind, stereo = int(bond.GetBondType()), int(bond.GetStereo())  # names would take half the time
    order = _orders()[0].get(kind)
    if order is None:
        raise ValueRefused(f"SMILES: a bond of type {bond.GetBondType()}")
    geometry = _orders()[1].get(stereo, 0)
    return (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), order, geometry, [*bond.GetStereoAtoms()]


@cache
def _orders() -> tuple[dict[int, int], dict[int, int]]:
    """Order of each of RDKit's bond types, geometry of its stereo marks, by their numbers."""
    kinds, marks = _rdkit()[0].BondType, _rdkit()[0].BondStereo
    orders = {int(getattr(kinds, name)): order for order, name in enumerate(BOND_ORDERS)}
    names = {"STEREOZ": 1, "STEREOCIS": 1, "STEREOE": 2, "STEREOTRANS": 2}
    geometries = {int(getattr(marks, name)): geometry for name, geometry in names.items()}
    return orders | {int(kinds.DATIVE): DATIVE_UP}, geometries


def _locants(atoms: Sequence[Atom], alike: Sequence[Sequence[int]]) -> list[int]:
    """A colour for each atom, so that within each of these groups no two equal atoms share one."""
    unlike: dict[int, set[int]] = {}
    for group in alike:
        for i, j in combinations(group, 2):
            if atoms[i] == atoms[j]:
                unlike.setdefault(i, set()).add(j)
                unlike.setdefault(j, set()).add(i)
    locants = [0] * len(atoms)
    for i in sorted(unlike):
        taken = {locants[j] for j in unlike[i] if j < i}
        locants[i] = next(c for c in range(len(taken) + 1) if c not in taken)
        if locants[i] >= LOCANTS:
            raise ValueRefused("SMILES: too many like atoms around stereo centres")
    return locants


def _is_odd(keys: Sequence[Any]) -> bool:
    """Whether sorting takes an odd number of exchanges."""
    return sum(a > b for a, b in combinations(keys, 2)) % 2 == 1


def _others(neighbours: Sequence[Sequence[int]], atom: int, besides: int) -> list[int]:
    return [i for i in neighbours[atom] if i != besides]


def _first(
    neighbours: Sequence[Sequence[int]], keys: Sequence[Any], atom: int, besides: int
) -> int:
    others = _others(neighbours, atom, besides)
    if not others:
        raise ValueError("cis or trans at an end of a chain")
    return min(others, key=lambda i: keys[i])


def _pack_atom(atom: Atom, locant: int, hand: int) -> int:
    element, charge, hydrogens, isotope = atom
    label = locant + LOCANTS * isotope
    label = charge + CHARGES * (hydrogens + HYDROGENS * label)
    return element + ELEMENTS * (hand + HANDS * label)


def _unpack_atom(label: int) -> tuple[Atom, int, int]:
    parts = []
    for size in (ELEMENTS, HANDS, CHARGES, HYDROGENS, LOCANTS, ISOTOPES):
        label, part = divmod(label, size)
        parts.append(part)
    element, hand, charge, hydrogens, locant, isotope = parts
    if label or element > 118:
        raise ValueError("a node label that is no atom")
    return (element, charge, hydrogens, isotope), locant, hand


# ---- graph to molecule --------------------------------------------------------------------


def _mol_of(chem: Any, graph: Graph) -> Any:
    mol = chem.RWMol()
    labels = [] if graph.node_labels is None else graph.node_labels.tolist()
    unpacked = [_unpack_atom(label) for label in labels]
    keys = [(*atom, locant) for atom, locant, _ in unpacked]
    for (element, charge, hydrogens, isotope), _, _ in unpacked:
        atom = chem.Atom(element)
        atom.SetFormalCharge((charge + 1) // 2 * (-1 if charge % 2 else 1))
        atom.SetIsotope(isotope)
        if hydrogens:
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(hydrogens - 1)
        mol.AddAtom(atom)
    edge_labels = [] if graph.edge_labels is None else graph.edge_labels.tolist()
    for (begin, end), label in zip(graph.edges.tolist(), edge_labels):
        _add_bond(chem, mol, keys, begin, end, label)
    neighbours = [[b.GetOtherAtomIdx(a.GetIdx()) for b in a.GetBonds()] for a in mol.GetAtoms()]
    tags = (chem.ChiralType.CHI_TETRAHEDRAL_CCW, chem.ChiralType.CHI_TETRAHEDRAL_CW)
    for atom, around, (_, _, hand) in zip(mol.GetAtoms(), neighbours, unpacked):
        if hand:
            odd = _is_odd([keys[i] for i in around])
            atom.SetChiralTag(tags[2 - hand if odd else hand - 1])
    _require_size(chem, mol, "Graph")
    chem.SanitizeMol(mol)
    for bond, label in zip(mol.GetBonds(), edge_labels):
        if label // ORDERS and bond.GetBondType() == chem.BondType.DOUBLE:
            begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            first = _first(neighbours, keys, begin, end), _first(neighbours, keys, end, begin)
            bond.SetStereoAtoms(*first)
            stereo = chem.BondStereo.STEREOCIS, chem.BondStereo.STEREOTRANS
            bond.SetStereo(stereo[label // ORDERS - 1])
    # through the directions of single bonds, as parsing does: setting the geometry alone is undone
    chem.SetDoubleBondNeighborDirections(mol)
    chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    return mol


def _add_bond(chem: Any, mol: Any, keys: list[Any], begin: int, end: int, label: int) -> None:
    order, geometry = label % ORDERS, label // ORDERS
    if geometry >= GEOMETRIES or begin == end:
        raise ValueError("an edge label that is no bond, or a loop")
    if order < DATIVE_UP:
        mol.AddBond(begin, end, getattr(chem.BondType, BOND_ORDERS[order]))
        return
    if (keys[begin] > keys[end]) == (order == DATIVE_UP):
        begin, end = end, begin
    mol.AddBond(begin, end, chem.BondType.DATIVE)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
