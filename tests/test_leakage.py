"""Nothing learned has seen held-out events or their texts."""
import numpy as np
import pytest

from recbook.data import Dataset, Split, split
from recbook.pipeline import learn, make_features
from recbook.text import item_texts, keywords, user_texts
from recbook.world import World

MARK = 'xyzzyplugh'


@pytest.fixture(scope='module')
def parts() -> Split:
    return split(World.make(n_users=200, n_items=300, n_events=6000).dataset.positives(4))


def planted(part: Dataset) -> Dataset:
    "The part with the marker in every text."
    return Dataset(part.events.assign(text=(MARK + ' ' + part.events['text'].astype(str))), part.items, part.users)


def arrays(value, seen=None):
    "All numbers below an object, whatever it is made of."
    if isinstance(value, np.ndarray): yield value
    elif hasattr(value, 'indptr'): yield from (value.data, value.indices, value.indptr)
    elif isinstance(value, dict): yield from (a for v in value.values() for a in arrays(v))
    elif isinstance(value, (list, tuple)): yield from (a for v in value for a in arrays(v))
    elif hasattr(value, '__dict__'): yield from arrays({k: v for k, v in vars(value).items() if 'seconds' not in k})


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
    assert all(np.array_equal(a, b) for a, b in zip(arrays(clean), arrays(again), strict=True))


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


def test_held_out_events_change_no_model(parts):
    "Models see the training part; the validation part chooses settings, the test part nothing at all."
    other = parts.test.where(np.arange(len(parts.test)) % 2 == 0)
    models = ('popular', 'itemknn', 'ease', 'content', 'hybrid')
    one = learn(parts.train, parts, models, 'tfidf')
    two = learn(parts.train, Split(parts.train, parts.valid, planted(other), parts.spec), models, 'tfidf')
    users = np.arange(20)
    for name in models: assert np.array_equal(one.models[name].scores(users), two.models[name].scores(users)), name
