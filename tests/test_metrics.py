"""Every metric against a second implementation in plain Python (to 1e-9), against scikit-learn and SciPy where they
have it, and the properties that each must have, on random cases with ties, empty lists and users without anything.

In k, these never fall: recall, hit rate, MRR. The others may: precision, F1, MAP (it divides by min(k, r)), NDCG
(a longer ideal list), and everything in recbook.variety but item coverage, which never falls either."""
from math import isnan, log2, nan

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from recbook import metrics, variety
from recbook.core import RecbookError
from recbook.lists import top_k
from recbook.metrics import METRICS, auc, gains, hits, mae, measure, ndcg, rating_errors, rmse
from scipy.sparse import csr_matrix
from scipy.stats import entropy
from sklearn.metrics import (f1_score, mean_absolute_error, ndcg_score, precision_score, recall_score, roc_auc_score,
                             root_mean_squared_error)
from sklearn.metrics.pairwise import cosine_distances

TOLERANCE = dict(rtol=0, atol=1e-9, equal_nan=True)
many = settings(max_examples=60, deadline=None, derandomize=True)


class Case:
    "Lists from scores with ties, beside all that the metrics may ask for."
    def __init__(self, n: int, m: int, k: int, seed: int):
        rng = np.random.default_rng(seed)
        sparse = lambda high, share: rng.integers(1, high + 1, (n, m)) * (rng.random((n, m)) < share)
        self.n, self.m, self.k, self.rng = n, m, k, rng
        self.scores = rng.integers(0, rng.integers(2, 50), (n, m)).astype(float)
        self.gain = sparse(5, rng.random()) * (rng.random((n, 1)) < .8)           # some have nothing relevant
        self.own = sparse(1, rng.random()) * (rng.random((n, 1)) < .8)            # some have no past
        self.items = top_k(self.scores, k, exclude=csr_matrix(self.own))[0]
        self.items[rng.random(n) < .15] = -1                                      # some lists are empty
        self.vectors = rng.normal(size=(m, 3)) * (rng.random((m, 1)) < .8)        # some items have no vector
        self.layer = rng.random((m, 4)) * (rng.random((m, 4)) < .4)
        self.taste = rng.random((n, 4)) * (rng.random((n, 4)) < .6)
        self.holders, self.n_users = self.own.sum(axis=0), max(n, 1)
        self.expected = variety.popular_lists(csr_matrix(self.own), self.holders, k)

    @property
    def lists(self) -> list[list[int]]: return [[int(i) for i in row if i >= 0] for row in self.items]
    @property
    def wanted(self) -> list[dict[int, int]]: return [{int(i): int(row[i]) for i in np.flatnonzero(row)} for row in self.gain]
    @property
    def past(self) -> list[list[int]]: return [[int(i) for i in np.flatnonzero(row)] for row in self.own]


@st.composite
def cases(draw, least: int = 0) -> Case:
    return Case(draw(st.integers(least, 7)), draw(st.integers(1, 12)), draw(st.integers(1, 16)), draw(st.integers(0, 10**6)))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else nan


def same(ours, theirs) -> None:
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), **TOLERANCE)


# ---------------------------------------------------------------- accuracy

def accuracy(shown: list[int], k: int, gain: dict[int, int]) -> dict[str, float]:
    if not gain: return dict.fromkeys(METRICS, nan)
    at = [place for place, item in enumerate(shown, 1) if item in gain]
    p, r, best = len(at) / k, len(at) / len(gain), sorted(gain.values(), reverse=True)[:k]
    return {'precision': p, 'recall': r, 'f1': 2 * p * r / (p + r) if at else 0, 'hit_rate': float(bool(at)),
            'map': sum((n + 1) / i for n, i in enumerate(at)) / min(k, len(gain)), 'mrr': 1 / at[0] if at else 0,
            'ndcg': sum(gain[shown[i - 1]] / log2(i + 1) for i in at) / sum(g / log2(i + 2) for i, g in enumerate(best))}


@many
@given(cases())
def test_lists_agree_with_plain_python(case):
    ks = sorted({1, (case.k + 1) // 2, case.k})
    table = measure(case.items, csr_matrix(case.gain), [f'{name}@{k}' for name in METRICS for k in ks])
    for k in ks:
        theirs = [accuracy(shown[:k], k, gain) for shown, gain in zip(case.lists, case.wanted)]
        for name in METRICS: same(table[f'{name}@{k}'], [t[name] for t in theirs])


@many
@given(cases(least=1))
def test_small_blocks_change_nothing(case):
    gain, own = (csr_matrix(np.tile(x, (20, 1))) for x in (case.gain, case.own))
    both = lambda: (measure(np.tile(case.items, (20, 1)), gain, [f'{name}@{case.k}' for name in METRICS]),
                    auc(np.tile(case.scores, (20, 1)), gain, own))
    with pytest.MonkeyPatch.context() as patched:
        whole = both()
        patched.setattr(metrics, 'CELLS', 1)
        for one, other in zip(whole, both()): np.testing.assert_array_equal(one, other)


@many
@given(cases())
def test_bounds_and_growth_in_k(case):
    ks = range(1, case.k + 1)
    table = measure(case.items, csr_matrix(case.gain), [f'{name}@{k}' for name in METRICS for k in ks])
    known = case.gain.any(axis=1)
    assert (table.notna().to_numpy() == known[:, None]).all()
    assert ((table[known] >= 0) & (table[known] <= 1 + 1e-12)).all(axis=None)
    for name in 'recall', 'hit_rate', 'mrr':
        assert (np.diff(table.loc[known, [f'{name}@{k}' for k in ks]]) >= 0).all()


@pytest.mark.parametrize('name, relevant', [('precision', [1, 0, 0]), ('f1', [1, 0, 0]), ('map', [1, 0, 1]), ('ndcg', [1, 0, 1])])
def test_the_others_can_fall_in_k(name, relevant):
    one, two = measure([[0, 1]], csr_matrix([relevant]), [f'{name}@1', f'{name}@2']).iloc[0]
    assert one == 1 and two < 1


@many
@given(cases(least=1))
def test_a_perfect_list_has_1(case):
    best = top_k(case.gain.astype(float), case.k)[0]
    known = case.gain.any(axis=1)
    table = measure(best, csr_matrix(case.gain), [f'{name}@{case.k}' for name in ('map', 'mrr', 'ndcg', 'hit_rate')])
    same(table[known], np.ones((known.sum(), 4)))


@many
@given(cases(least=1))
def test_order_of_users_and_names_of_items_do_not_matter(case):
    names = [f'{name}@{case.k}' for name in METRICS]
    table = measure(case.items, csr_matrix(case.gain), names)
    users, codes = case.rng.permutation(case.n), case.rng.permutation(case.m)     # item i becomes codes[i]
    moved = measure(case.items[users], csr_matrix(case.gain[users]), names)
    same(moved, table.iloc[users].to_numpy())
    renamed, gain = np.where(case.items < 0, -1, codes[case.items]), np.zeros_like(case.gain)
    gain[:, codes] = case.gain
    same(measure(renamed, csr_matrix(gain), names), table.to_numpy())
    distinct = case.rng.permuted(np.tile(np.arange(case.m, dtype=float), (case.n, 1)), axis=1)     # no ties: scores will do
    other = np.zeros_like(distinct)
    other[:, codes] = distinct
    same(measure(top_k(other, case.k)[0], csr_matrix(gain), names), measure(top_k(distinct, case.k)[0], csr_matrix(case.gain), names).to_numpy())


@many
@given(cases(least=1))
def test_lists_agree_with_scikit_learn(case):
    scores = case.rng.permuted(np.tile(np.arange(case.m, dtype=float), (case.n, 1)), axis=1)      # scikit-learn averages over ties
    k = min(case.k, case.m)
    items = top_k(scores, k)[0]
    table = measure(items, csr_matrix(case.gain), [f'{name}@{k}' for name in METRICS])
    for u in np.flatnonzero(case.gain.any(axis=1)):
        shown = np.isin(np.arange(case.m), items[u])
        for name, theirs in ('precision', precision_score), ('recall', recall_score), ('f1', f1_score):
            same(table.loc[u, f'{name}@{k}'], theirs(case.gain[u] > 0, shown, zero_division=0))
        if case.m > 1:
            same(table.loc[u, f'ndcg@{k}'], ndcg_score(case.gain[[u]], scores[[u]], k=k))
            same(ndcg(hits(items[[u]], gains(csr_matrix(case.gain[[u]]))))[0], ndcg_score(2. ** case.gain[[u]] - 1, scores[[u]], k=k))


@many
@given(cases(), st.floats(.1, 100))
def test_only_the_ratios_of_gains_count(case, factor):
    one, other = (hits(case.items, csr_matrix(gain)) for gain in (case.gain * 1., case.gain * factor))
    for metric in METRICS.values(): same(metric(other), metric(one))


def test_ways_to_store_the_same_gains():
    items, plain = np.array([[2, 0, 1]]), csr_matrix([[1, 0, 3]])
    doubled = csr_matrix((np.array([1., 2., 1., 0.]), np.array([2, 2, 0, 1]), np.array([0, 4])), shape=(1, 3))
    unsorted = csr_matrix((np.array([3., 1., 0.]), np.array([2, 0, 1]), np.array([0, 3])), shape=(1, 3))
    for other in (doubled, unsorted, plain.tocoo(), plain.tocsc(), plain.astype(np.float32)):
        same(measure(items, other, ['ndcg@3', 'map@2', 'recall@1']), measure(items, plain, ['ndcg@3', 'map@2', 'recall@1']).to_numpy())
    assert doubled.nnz == 4                                                        # the caller's matrix is untouched
    same(measure(items, plain > 0, 'map@3'), measure(items, plain, 'map@3').to_numpy())


# ---------------------------------------------------------------- AUC and ratings

def one_auc(scores, gain, out) -> float:
    candidates = [i for i in range(len(scores)) if not out[i]]
    good, bad = ([scores[i] for i in candidates if bool(gain[i]) is wanted] for wanted in (True, False))
    return mean((g > b) + (g == b) / 2 for g in good for b in bad)


@many
@given(cases(least=1))
def test_auc_agrees_with_counting_pairs_and_scikit_learn(case):
    ours = auc(case.scores, csr_matrix(case.gain), csr_matrix(case.own))
    same(ours, [one_auc(*rows) for rows in zip(case.scores, case.gain, case.own)])
    same(auc(case.scores.astype(np.float32), csr_matrix(case.gain), csr_matrix(case.own)), ours)
    for u in np.flatnonzero(~np.isnan(ours)):
        keep = case.own[u] == 0
        same(ours[u], roc_auc_score(case.gain[u][keep] > 0, case.scores[u][keep]))


@many
@given(cases(least=1))
def test_auc_turns_with_the_order_and_ignores_the_scale(case):
    ours = auc(case.scores, csr_matrix(case.gain))
    same(auc(-case.scores, csr_matrix(case.gain)), 1 - ours)
    same(auc(np.exp(case.scores / 9), csr_matrix(case.gain)), ours)
    users = case.rng.permutation(case.n)
    same(auc(case.scores[users], csr_matrix(case.gain[users])), ours[users])


@many
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-9, 9), st.integers(1, 5)), min_size=1, max_size=30))
def test_rating_errors(events):
    user, predicted, true = map(np.array, zip(*events))
    same(mae(predicted, true), mean_absolute_error(true, predicted))
    same(rmse(predicted, true), root_mean_squared_error(true, predicted))
    each = rating_errors(predicted, true, user, 7)
    for u in range(7):
        e = [p - t for v, p, t in events if v == u]
        same(each.loc[u], [len(e), mean(abs(x) for x in e), mean(x * x for x in e) ** .5])
    assert rmse(predicted, true) >= mae(predicted, true) - 1e-9


# ---------------------------------------------------------------- beyond accuracy

def distance(a, b) -> float:
    return 1 - sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** .5


def divergence(shown, layer, taste, alpha=.01) -> float:
    known = [layer[i] / layer[i].sum() for i in shown if layer[i].any()]
    if not known or not taste.any(): return nan
    q, p = sum(known) / len(known), taste / taste.sum()
    return sum(a * log2(a / ((1 - alpha) * b + alpha * a)) for a, b in zip(p, q) if a > 0)


def beyond(case: Case, u: int, k: int) -> dict[str, float]:
    shown, gain, past = case.lists[u][:k], case.wanted[u], case.past[u]
    has = lambda items: [i for i in items if case.vectors[i].any()]
    p = lambda i: case.holders[i] / case.n_users
    far = lambda i: mean(distance(case.vectors[i], case.vectors[j]) for j in has(past))
    plain, before = set(case.expected[u][:k]), mean(map(p, past))
    hit = [i for i in shown if i in gain]
    return {'novelty': mean(-log2((case.holders[i] + 1) / (case.n_users + 1)) for i in shown), 'popularity': mean(map(p, shown)),
            'popularity_lift': mean(map(p, shown)) / before - 1 if past else nan,
            'diversity': mean(distance(case.vectors[i], case.vectors[j]) for i in has(shown) for j in has(shown) if i < j),
            'vector_novelty': mean(far(i) for i in has(shown)),
            'serendipity': sum(i not in plain for i in hit) / k if gain else nan,
            'vector_serendipity': sum(far(i) for i in has(hit)) / k if gain and has(past) else nan,
            'calibration': divergence(shown, case.layer, case.taste[u])}


@many
@given(cases(least=1))
def test_variety_agrees_with_plain_python(case):
    ks = sorted({1, (case.k + 1) // 2, case.k})
    table = variety.variety(case.items, csr_matrix(case.own), None, csr_matrix(case.gain), case.vectors,
                            csr_matrix(case.layer), csr_matrix(case.taste), ks)
    for k in ks:
        theirs = [beyond(case, u, k) for u in range(case.n)]
        for name in theirs[0]: same(table[f'{name}@{k}'], [t[name] for t in theirs])


@many
@given(cases(least=1))
def test_variety_of_some_users_and_any_order(case):
    args = csr_matrix(case.own), csr_matrix(case.gain), case.vectors, case.layer, case.taste
    front = lambda items, users: variety.variety(items, args[0], users, *args[1:], ks=(case.k,)).drop(columns='model')
    whole, users = front(case.items, None), case.rng.permutation(case.n)[:case.rng.integers(1, case.n + 1)]
    same(front(case.items[users], users), whole.iloc[users].to_numpy())


@many
@given(cases(least=1))
def test_names_of_items_do_not_matter_to_variety(case):
    codes = case.rng.permutation(case.m)
    moved = lambda table: table[np.argsort(codes)]                                # row of item i becomes row codes[i]
    renamed, plain = (np.where(x < 0, -1, codes[x]) for x in (case.items, case.expected))
    own, gain = (csr_matrix(moved(x.T).T) for x in (case.own, case.gain))
    for before, after in (
            (variety.novelty(case.items, case.holders, case.n_users), variety.novelty(renamed, moved(case.holders), case.n_users)),
            (variety.popularity_lift(case.items, csr_matrix(case.own), case.holders), variety.popularity_lift(renamed, own, moved(case.holders))),
            (variety.diversity(case.items, case.vectors), variety.diversity(renamed, moved(case.vectors))),
            (variety.serendipity(case.items, csr_matrix(case.gain), case.expected), variety.serendipity(renamed, gain, plain)),
            (variety.calibration(case.items, case.layer, case.taste), variety.calibration(renamed, moved(case.layer), case.taste))):
        same(after, before)
    same(variety.catalogue(renamed, case.m, (case.k,)).iloc[0, 1:], variety.catalogue(case.items, case.m, (case.k,)).iloc[0, 1:])


@many
@given(cases(least=1))
def test_variety_stays_in_its_bounds(case):
    table = variety.variety(case.items, csr_matrix(case.own), None, csr_matrix(case.gain), case.vectors, case.layer, case.taste, (case.k,))
    value = {name.split('@')[0]: table[name].dropna() for name in table.columns[2:]}
    for name, high in ('novelty', log2(case.n_users + 1)), ('popularity', 1), ('popularity_lift', np.inf), ('diversity', 2), \
                      ('vector_novelty', 2), ('serendipity', 1), ('vector_serendipity', 2), ('calibration', log2(1 / .01)):
        low = -1 if name == 'popularity_lift' else 0
        assert ((value[name] >= low - 1e-9) & (value[name] <= high + 1e-9)).all(), name
    precision = measure(case.items, csr_matrix(case.gain), [f'precision@{case.k}']).iloc[:, 0]
    assert not (table[f'serendipity@{case.k}'] > precision).any()


@many
@given(cases())
def test_the_catalogue_agrees_with_plain_python(case):
    table = variety.catalogue({'a': case.items}, case.m, range(1, case.k + 1))
    for k, row in zip(range(1, case.k + 1), table.itertuples()):
        lists = [shown[:k] for shown in case.lists]
        x = [sum(i in shown for shown in lists) for i in range(case.m)]
        unequal = mean(abs(a - b) for a in x for b in x) / 2 / mean(x) if sum(x) else nan
        same(row[2:], [k, sum(map(bool, x)) / case.m, mean(len(s) >= 1 for s in lists), mean(len(s) >= k for s in lists), unequal])
        assert isnan(unequal) or -1e-9 <= row.gini <= 1 - 1 / case.m + 1e-9
    assert (np.diff(table['item_coverage']) >= 0).all() and not (np.diff(table['full_lists']) > 0).any()


@many
@given(cases(least=1))
def test_variety_agrees_with_scikit_learn_and_scipy(case):
    ours = variety.diversity(case.items, case.vectors)
    bits = variety.calibration(case.items, case.layer, case.taste)
    for u, shown in enumerate(case.lists):
        known = [i for i in shown if case.vectors[i].any()]
        if len(known) > 1: same(ours[u], cosine_distances(case.vectors[known])[np.triu_indices(len(known), 1)].mean())
        mixes = [case.layer[i] / case.layer[i].sum() for i in shown if case.layer[i].any()]
        if mixes and case.taste[u].any():
            p = case.taste[u] / case.taste[u].sum()
            same(bits[u], entropy(p, .99 * np.mean(mixes, axis=0) + .01 * p, base=2))


def test_a_list_with_the_users_own_mix_is_calibrated():
    rng = np.random.default_rng(0)
    items, layer = np.array([[0, 1, 2], [3, 4, 5]]), rng.random((6, 5))
    layer /= layer.sum(axis=1, keepdims=True)
    same(variety.calibration(items, layer, layer[items].sum(axis=1)), [0, 0])


# ---------------------------------------------------------------- what is refused

TWO = csr_matrix([[0, 1, 0], [1, 0, 0]])
BAD = {'NaN': lambda: auc(np.full((2, 3), np.nan), TWO), 'must be a sparse matrix of the shape': lambda: auc(np.zeros((2, 4)), TWO),
       'code -2': lambda: measure([[0], [-2]], TWO, 'map@1'), 'code 3': lambda: measure([[0], [3]], TWO, 'map@1'),
       'same item twice': lambda: measure([[0, 1], [2, 2]], TWO, 'map@2'), 'holds the value -1': lambda: measure([[0], [1]], -TWO, 'map@1'),
       'needs the length of the list': lambda: measure([[0], [1]], TWO, 'map@0'), 'call auc': lambda: measure([[0], [1]], TWO, 'auc'),
       '1 lists and 2 rows': lambda: measure([[0]], TWO, 'map@1'), 'whole numbers from 1': lambda: variety.catalogue([[0]], 3, (0,)),
       'predictions hold NaN': lambda: rmse([np.nan], [1]), 'one row for each of 3 items': lambda: variety.profiles(TWO, np.ones((2, 2)))}


@pytest.mark.parametrize('sentence', BAD)
def test_bad_input_gets_a_sentence(sentence):
    with pytest.raises(RecbookError, match=sentence): BAD[sentence]()


def test_nobody_and_nothing():
    assert measure(np.empty((0, 3), int), csr_matrix((0, 5)), ['ndcg@3']).shape == (0, 1)
    assert auc(np.empty((0, 5)), csr_matrix((0, 5))).shape == (0,)
    nothing = measure([[0, 1]], csr_matrix((1, 5)), [f'{name}@2' for name in METRICS])
    assert nothing.isna().all(axis=None) and np.isnan(auc(np.zeros((1, 5)), csr_matrix((1, 5)))).all()
