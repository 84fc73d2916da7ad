"""MovieLens 1M: collaborative filtering, LightFM on ids, and LightFM on ids and interest layers.

Ratings of 4 and 5 are positives; a random 80/10/10 split of pairs of user and item; every setting is chosen on the
validation part; models are fitted on the train part, the pairs of train and validation are left out of the lists, and
NDCG@10 is the mean over users with test items. Results, settings and all trials go to a JSON file after each step.

    python benchmarks/ml1m.py                 # all of it: about half an hour on one core
    python benchmarks/ml1m.py --only EASE     # one model; the others stay as they are in the file
"""
import argparse
import json
import os
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
from common import commit, machine, versions
from scipy.sparse import csr_matrix

from recbook.baselines import Popular, Recommender
from recbook.cf import EASE, ItemKNN, UserKNN
from recbook.content import Content
from recbook.core import cache_dir, write_aside
from recbook.data import random_split
from recbook.encode import Encoder
from recbook.factors import IALS
from recbook.hybrid import LightFMModel
from recbook.layers import Interests
from recbook.metrics import measure
from recbook.sources import load
from recbook.text import item_texts

HERE = Path(__file__).parent
MODELS = ('Popular', 'ItemKNN', 'UserKNN', 'EASE', 'iALS', 'Content', 'LightFM ids', 'hybrid')
READERS = {'Content', 'hybrid', 'cost'}   # these need texts
SIZES = (12, 60, 300)                                    # nodes of the broad, middle and fine layer
IDS = [{'item_alpha': a} for a in (3e-4, 1e-4, 1e-3)]
HYBRID = [dict(zip(('item_alpha', 'feature_weight', 'backoff'), row)) for row in ((3e-4, .5, 20.), (1.5e-4, .5, 20.), (3e-4, .1, 0.))]
LIGHTFM = {'dim': 64, 'lr': .03, 'user_alpha': 1e-6}     # .02 takes twice the epochs to the same height, .05 and more end lower


def grid(**values) -> list[dict]:
    return [dict(zip(values, row)) for row in product(*values.values())]


def per_user(model: Recommender, part, exclude: csr_matrix | None = None) -> np.ndarray:
    "NDCG@10 for each user; NaN for users without items in `part`."
    items, _ = model.recommend(np.arange(part.n_users), k=10, exclude=exclude)
    return measure(items, part.matrix(), ('ndcg@10',))['ndcg@10'].to_numpy()


def paired(a: np.ndarray, b: np.ndarray, seed: int, n: int = 10_000) -> dict:
    "The mean difference b - a over users, with its 95% bootstrap interval."
    d = (b - a)[~np.isnan(a)]
    rng = np.random.default_rng(seed)
    means = np.concatenate([rng.choice(d, (100, len(d))).mean(axis=1) for _ in range(n // 100)])
    low, high = np.quantile(means, [.025, .975])
    return {'difference': float(d.mean()), 'interval': [float(low), float(high)], 'level': .95, 'samples': n, 'users': len(d)}


class Bench:
    "Keeps the split, the results so far, and the file they go to."
    def __init__(self, out: Path, seed: int):
        self.out, self.seed, self.mine = out, seed, set()
        data = load('ml-1m')
        self.split = random_split(data.where(data.events['value'].to_numpy() >= 4), (.8, .1, .1), seed)
        self.valid = self.split.valid.matrix()
        self.results = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {'models': {}}
        self.results |= {'data': repr(self.split.train), 'protocol': f'ratings >= 4 are positives; {self.split.spec}; NDCG@10, mean over '
                         'users with test items; fitted on train; train and validation masked', 'seed': seed, 'date': str(date.today()),
                         'machine': machine(), 'versions': versions(), 'commit': commit()}

    def write(self) -> None:
        "Join what another run has written meanwhile, and write it all."
        if self.out.exists():
            other = json.loads(self.out.read_text(encoding='utf-8'))
            mine = {name: self.results['models'][name] for name in self.mine}
            self.results = other | self.results | {'models': other['models'] | mine}
        with write_aside(self.out) as aside: aside.write_text(json.dumps(self.results, indent=1) + '\n', encoding='utf-8')

    def run(self, name: str, make, trials: list[dict]) -> None:
        "Fit each trial, choose by validation, judge the chosen one on test; trials that the file has are not repeated."
        self.mine.add(name)
        entry = self.results['models'].setdefault(name, {'trials': []})
        done = [{k: row.get(k) for k in trials[0]} for row in entry['trials']]
        best, kept = max([row['valid'] for row in entry['trials']], default=-1), cache_dir('bench') / f'ml1m-{name}-{self.seed}'
        left = [settings for settings in trials if settings not in done]
        if not left and 'ndcg@10' in entry: return
        for settings in left:
            model = make(**settings).fit(self.split.train)
            value = float(np.nanmean(per_user(model, self.split.valid)))
            row = settings | {'valid': round(value, 5), 'fit_seconds': round(model.fit_seconds, 2)}
            if getattr(model, 'trail', None): row['trail'] = [(e, round(v, 5)) for e, v in model.trail]
            print(name, row, flush=True)
            entry['trials'].append(row)
            if row['valid'] > best:
                best = row['valid']
                model.save(kept)
            self.write()
        self.judge(name, type(make(**trials[0])).load(kept), trials[0])

    def judge(self, name: str, model: Recommender, keys: dict) -> None:
        "Test the model that validation chose."
        test, entry = per_user(model, self.split.test, self.valid), self.results['models'][name]
        chosen = max(entry['trials'], key=lambda row: row['valid'])
        entry |= {'ndcg@10': float(np.nanmean(test)), 'valid': chosen['valid'], 'settings': {k: chosen[k] for k in keys},
                  'fit_seconds': chosen['fit_seconds']}
        np.save(cache_dir('bench') / f'ml1m-{name}-{self.seed}.npy', test)     # kept out of the JSON, which stays small
        print(f'{name}: test NDCG@10 {np.nanmean(test):.4f}', flush=True)
        self.write()

    def test(self, name: str) -> np.ndarray:
        "NDCG@10 for each user, as `run` has kept it."
        return np.load(cache_dir('bench') / f'ml1m-{name}-{self.seed}.npy')


def features(data) -> dict:
    "What is known of the items: dense vectors of plots and titles, and their interest layers."
    texts = item_texts(replace(data, items=data.items.assign(tags='')))       # genres stay out of the texts
    vectors = Encoder('minilm').encode(texts)
    interests = Interests(sizes=SIZES, top=1, seed=0).fit(vectors, texts)
    return {'vectors': vectors, 'layers': csr_matrix(interests.features(interests.items))}


def lightfm(bench: Bench, item_features: csr_matrix | None = None):
    "A maker of LightFM models whose number of epochs is chosen on validation."
    return lambda **s: LightFMModel(epochs=120, valid=bench.split.valid, every=10, patience=1, seed=bench.seed,
                                    item_features=item_features, **(LIGHTFM | s))


def tune(bench: Bench, wanted: set, has: dict) -> None:
    "Choose, fit and judge every wanted model."
    simple = {'Popular': (Popular, [{}]), 'ItemKNN': (ItemKNN, grid(k=[50, 100, 200, 400], shrink=[0., 10.])),
              'UserKNN': (UserKNN, grid(k=[50, 100, 200], shrink=[0., 10.])),
              'EASE': (EASE, grid(reg=[100., 200., 350., 500., 750., 1000.])),
              'iALS': (IALS, grid(dim=[64], reg=[5., 20., 50., 100.], alpha=[1., 2., 5.])),
              'Content': (lambda **s: Content(has['vectors'], **s), grid(k=[0, 5, 10, 20]))}
    for name, (make, trials) in simple.items():
        if name in wanted: bench.run(name, make, trials)
    if 'LightFM ids' in wanted: bench.run('LightFM ids', lightfm(bench), IDS)
    if 'hybrid' in wanted: bench.run('hybrid', lightfm(bench, has['layers']), HYBRID)


def cost(bench: Bench, has: dict, rounds: int) -> None:
    "Median seconds of an epoch, models taking turns; the dense table takes part once."
    sets = {'LightFM ids': None, 'hybrid': has['layers'], 'dense 384': csr_matrix(has['vectors'])}
    seconds = {name: [] for name in sets}
    for turn in range(rounds):
        for name, item_features in sets.items():
            if turn and name == 'dense 384': continue
            model = LightFMModel(epochs=1, item_features=item_features, feature_weight=.5, **LIGHTFM).fit(bench.split.train)
            seconds[name] += model.epoch_seconds
            print(f'{name}: {model.epoch_seconds[0]:.2f} s an epoch', flush=True)
    median = {name: float(np.median(s)) for name, s in seconds.items()}
    bench.results['epoch_seconds'] = {name: {'median': round(m, 3), 'to_ids': round(m / median['LightFM ids'], 2), 'runs': len(seconds[name]),
                                             'features_an_item': 0 if sets[name] is None else round(sets[name].nnz / sets[name].shape[0], 1)}
                                      for name, m in median.items()}
    bench.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'ml1m.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=[*MODELS, 'cost'], metavar='NAME', help=f'some of: {", ".join(MODELS)}, cost')
    parser.add_argument('--seed', type=int, default=0, help='of the split and the models')
    parser.add_argument('--rounds', type=int, default=5, help='turns when epochs are timed')
    args = parser.parse_args()
    unknown = set(args.only) - {*MODELS, 'cost'}
    if unknown: parser.error(f'--only: unknown {", ".join(sorted(unknown))}')
    bench = Bench(args.out, args.seed)
    has = features(bench.split.train) if set(args.only) & READERS else {}
    tune(bench, set(args.only), has)
    if 'cost' in args.only: cost(bench, has, args.rounds)
    for name in ('hybrid', 'EASE', 'iALS'):
        if all('ndcg@10' in bench.results['models'].get(n, {}) for n in (name, 'LightFM ids')):
            bench.results.setdefault('against LightFM ids', {})[name] = paired(bench.test('LightFM ids'), bench.test(name), args.seed)
    bench.write()


if __name__ == '__main__': main()
