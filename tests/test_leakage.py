"""Nothing learned has seen held-out events or their texts."""
import numpy as np
import pytest

from recbook.core import RecbookError
from recbook.behaviour import user_texts
from recbook.data import Dataset, Split, split
from recbook.pipeline import learn
from recbook.provenance import MARK, check_leakage, origin_of, same
from recbook.recipes import main_nodes, make_features
from recbook.text import item_texts, keywords
from recbook.world import World


@pytest.fixture(scope='module')
def parts() -> Split:
    return split(World.make(n_users=200, n_items=300, n_events=6000).dataset.positives(4))


def planted(part: Dataset) -> Dataset:
    "The part with the marker in every text."
    return Dataset(part.events.assign(text=(MARK + ' ' + part.events['text'].astype(str))), part.items, part.users)


def marked_run(parts: Split) -> Split:
    "The same log split again, after the marker was written into all texts that will be held out."
    held = (parts.valid.matrix() + parts.test.matrix()).tocsr()
    log = World.make(n_users=200, n_items=300, n_events=6000).dataset.positives(4)
    hidden = np.asarray(held[log.events['user'], log.events['item']]).ravel() > 0
    texts = log.events['text'].astype(str)
    marked = Dataset(log.events.assign(text=texts.where(~hidden, MARK + ' ' + texts)), log.items, log.users)
    again = split(marked)
    assert again.test.events['text'].str.contains(MARK).all() and again.valid.events['text'].str.contains(MARK).all()
    return again


@pytest.mark.parametrize('encoder', ['tfidf', 'auto'])
def test_held_out_texts_change_no_feature(parts, encoder):
    clean, again = make_features(parts.train, encoder), make_features(marked_run(parts).train, encoder)
    assert same(clean, again)


def test_the_marker_stands_in_no_text_or_name(parts):
    train = marked_run(parts).train
    features = make_features(train, 'tfidf')
    wrote, described = user_texts(train), item_texts(train)
    groups = np.arange(len(wrote)) % 5
    everything = [*wrote, *described, *sum(features.interests.names, []), *sum(keywords(wrote, groups), [])]
    assert not [text for text in everything if MARK in text]


def test_the_marker_would_be_found(parts):
    "The search above can fail: planted in the training part, the marker is found."
    assert any(MARK in text for text in user_texts(planted(parts.train)))
    clean, again = make_features(parts.train, 'tfidf'), make_features(planted(parts.train), 'tfidf')
    assert not np.array_equal(clean.user_vectors, again.user_vectors)


@pytest.mark.parametrize('encoder', ['tfidf', 'auto'])
def test_every_feature_says_what_it_was_built_from(parts, encoder):
    def make(part):
        made = make_features(part.train, encoder)
        return {'items': made.item_vectors, 'users': made.user_vectors, 'user layers': made.user_layers,
                'item layers': made.interests.items, 'main nodes': main_nodes(made.interests.items), 'tree': made.interests}
    assert check_leakage(parts, make) == []                   # nothing without a label, nothing that has seen the test part
    assert (origin_of(make(parts)['users']).pairs != parts.train.matrix()).nnz == 0
    with pytest.raises(RecbookError, match='users was built from'): check_leakage(parts, make(Split(parts.test, parts.valid, parts.test, 'leak')))


def test_held_out_events_change_no_model(parts):
    "Models see the training part; the validation part chooses settings, the test part nothing at all."
    other = parts.test.where(np.arange(len(parts.test)) % 2 == 0)
    models = ('popular', 'itemknn', 'ease', 'content', 'hybrid')
    one = learn(parts.train, parts, models, 'tfidf')
    two = learn(parts.train, Split(parts.train, parts.valid, planted(other), parts.spec), models, 'tfidf')
    users = np.arange(20)
    for name in models: assert np.array_equal(one.models[name].scores(users), two.models[name].scores(users)), name
