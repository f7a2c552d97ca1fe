"""The vocabulary: append-only blocks, manifest, fingerprint, refusal of a mismatch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitok.vocabulary import EOS, PAD, SENTINELS, Vocabulary, VocabularyMismatch

names = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=6, unique=True)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    return Vocabulary.build(
        [
            (name, draw(st.integers(1, 5000)), draw(st.text("0123456789abcdef", max_size=16)))
            for name in draw(names)
        ]
    )


@given(vocabularies())
def test_blocks_tile_the_id_space(vocabulary: Vocabulary) -> None:
    covered = np.concatenate([np.arange(b.start, b.end) for b in vocabulary.blocks])
    np.testing.assert_array_equal(covered, np.arange(vocabulary.size))
    assert vocabulary.padded_size % 128 == 0
    assert 0 <= vocabulary.padded_size - vocabulary.size < 128
    of = vocabulary.modality_of(covered)
    for index, block in enumerate(vocabulary.blocks):
        assert (of[block.start : block.end] == index).all()


@given(vocabularies(), st.integers(1, 3000))
def test_growth_moves_no_id(vocabulary: Vocabulary, codes: int) -> None:
    grown = vocabulary.grow("newcomer", codes, "ff")
    assert grown.extends(vocabulary) and not vocabulary.extends(grown)
    ids = np.arange(vocabulary.size)
    np.testing.assert_array_equal(grown.modality_of(ids), vocabulary.modality_of(ids))
    for name in vocabulary.modalities:
        assert grown.begin(name) == vocabulary.begin(name)
        assert grown.end(name) == vocabulary.end(name)
    assert grown.fingerprint != vocabulary.fingerprint


@given(vocabularies())
def test_manifest_comes_back(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_manifest(vocabulary.manifest()) == vocabulary


@given(vocabularies(), st.data())
def test_local_and_global_are_inverse(vocabulary: Vocabulary, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(vocabulary.modalities))
    codes = vocabulary.block(name).codes
    local = np.array(data.draw(st.lists(st.integers(0, codes - 1), max_size=20)), np.int32)
    out = vocabulary.to_global(name, local)
    np.testing.assert_array_equal(vocabulary.to_local(name, out), local)
    assert not np.isin(out, [vocabulary.begin(name), vocabulary.end(name), PAD, EOS]).any()
    for outside in (-1, codes):
        with pytest.raises(ValueError, match=name):
            vocabulary.to_global(name, np.array([outside]))
    with pytest.raises(ValueError, match=name):
        vocabulary.to_local(name, np.array([vocabulary.begin(name)]))


@given(vocabularies(), st.data())
def test_a_damaged_manifest_is_refused(vocabulary: Vocabulary, data: st.DataObject) -> None:
    manifest = copy.deepcopy(vocabulary.manifest())
    block = data.draw(st.sampled_from(manifest["blocks"]))
    field = data.draw(st.sampled_from(["start", "codes", "marks"]))
    block[field] += data.draw(st.integers(1, 9))
    with pytest.raises(ValueError, match="manifest"):
        Vocabulary.from_manifest(manifest)
    del block[field]
    with pytest.raises(ValueError, match=field):
        Vocabulary.from_manifest(manifest)


def test_mismatch_names_both_sides() -> None:
    mine = Vocabulary.build([("text", 10, "aa"), ("image", 5, "bb")])
    theirs = Vocabulary.build([("text", 10, "aa"), ("image", 5, "cc")])
    with pytest.raises(VocabularyMismatch, match=r"runs/a.*runs/b.*'image'.*bb.*cc"):
        mine.require_same(theirs, "runs/a", "runs/b")
    mine.require_same(Vocabulary.from_manifest(mine.manifest()), "a", "b")
    with pytest.raises(VocabularyMismatch, match="audio"):
        mine.require_same(mine.grow("audio", 3), "a", "b")


def test_names_are_appended_once_and_sentinels_are_bounded() -> None:
    vocabulary = Vocabulary.build([("text", 10, "")])
    with pytest.raises(ValueError, match="exists"):
        vocabulary.grow("text", 3)
    with pytest.raises(ValueError, match="at least one"):
        vocabulary.grow("image", 0)
    assert vocabulary.sentinel(SENTINELS - 1) == vocabulary.block("sentinel").end - 1
    with pytest.raises(ValueError, match="sentinel"):
        vocabulary.sentinel(SENTINELS)
    with pytest.raises(KeyError, match="marks"):
        vocabulary.begin("special")
