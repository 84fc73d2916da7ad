"""Every fitted model comes back from its folder as it was, and damage is noticed."""
import numpy as np
import pytest

from recbook.core import RecbookError
from recbook.data import split
from recbook.layers import Interests
from recbook.pipeline import learn
from recbook.provenance import check_leakage
from recbook.recipes import RECIPES
from recbook.world import World


@pytest.fixture(scope='module')
def result():
    log = World.make(n_users=150, n_items=200, n_events=4000).dataset.positives(4)
    return learn(log, split(log), tuple(RECIPES), 'tfidf')


@pytest.mark.parametrize('name', RECIPES)
def test_a_model_comes_back(result, name, tmp_path):
    model, users = result.models[name], np.arange(50)
    model.save(tmp_path/'model')
    again = type(model).load(tmp_path/'model')
    assert np.array_equal(model.scores(users), again.scores(users))
    items, scores = model.recommend(users, 5)
    items_again, scores_again = again.recommend(users, 5)
    assert np.array_equal(items, items_again) and np.array_equal(scores, scores_again)
    assert check_leakage(result.parts, again.features()) == check_leakage(result.parts, model.features()) == []
    assert set(again.features()) == set(model.features())
    assert not list((tmp_path/'model').glob('*.pkl'))
    assert [p.name for p in tmp_path.iterdir()] == ['model']


def test_interests_come_back(result, tmp_path):
    tree = result.features.interests
    tree.save(tmp_path/'tree')
    again = Interests.load(tmp_path/'tree')
    assert again.names == tree.names
    for one, two in zip(tree.assign(result.features.user_vectors), again.assign(result.features.user_vectors)):
        assert (one != two).nnz == 0


@pytest.mark.parametrize('damage', ['truncated', 'no meta', 'foreign', 'nonsense'])
def test_damage_is_noticed(result, tmp_path, damage):
    folder = tmp_path/'model'
    result.models['ease'].save(folder)
    if damage == 'truncated': (folder/'arrays.npz').write_bytes((folder/'arrays.npz').read_bytes()[:1000])
    if damage == 'no meta': (folder/'meta.json').unlink()
    if damage == 'foreign': result.features.interests.save(folder)
    if damage == 'nonsense': (folder/'meta.json').write_text('[1, 2')
    with pytest.raises(RecbookError): type(result.models['ease']).load(folder)
