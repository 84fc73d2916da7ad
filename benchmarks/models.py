"""The models of part IV side by side: tuned peers and ours on the same splits, full ranking.

Every setting is chosen on the validation part of split 0; the chosen models are then fitted on the train parts of all
splits and judged on their test parts, with train and validation left out of the lists. Differences are paired by user,
with p corrected after Holm. Results, settings and trials go to a JSON file after each step; trials in it are not repeated,
and fitted models are kept in the cache folder.

    python benchmarks/models.py                        # all tables: about an hour and a half on one core
    python benchmarks/models.py --only ml-1m-4         # one table
    python benchmarks/models.py --only ml-1m-4 --judge # its test parts alone, with the settings in the file
"""
import argparse
import json
import os
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
from common import commit, machine, versions
from ladder import carve, member, shuffled_split, stratified_split

from recbook.baselines import Popular, Recommender, valid_ndcg
from recbook.blend import Weighted
from recbook.cf import EASE, ItemKNN, UserKNN
from recbook.core import cache_dir, write_aside
from recbook.data import Dataset, Split, random_split
from recbook.evaluate import evaluate
from recbook.factors import BPR, IALS
from recbook.fusion import Fusion
from recbook.graph import LowPass
from recbook.hybrid import LightFMModel
from recbook.sources import load
from recbook.weighted import WeightedEASE

HERE = Path(__file__).parent


def grid(**values: list) -> list[dict]:
    "All combinations."
    return [dict(zip(values, row)) for row in product(*values.values())]


@dataclass
class Table:
    "A protocol, its splits, and what was published for it."
    title: str
    protocol: str
    split: Callable           # seed -> Split
    seeds: tuple              # of the splits; the first one chooses
    metrics: tuple            # the first one chooses
    mark: str                 # what is to be passed
    big: bool                 # MovieLens 1M: larger prices
    carved: bool = False      # the protocol has no validation part: it is cut out of train, and models are fitted again on all of it


def films(min_value: float) -> Any:
    "MovieLens 1M, ratings from `min_value`."
    data = load('ml-1m')
    return data.where(data.events['value'].to_numpy() >= min_value)


def hundred(seed: int) -> Split:
    "MovieLens 100K, each user's ratings 75:25, as in the recommenders tables."
    events = member('ml-100k', 'ml-100k/u.data', sep='\t', names=['user', 'item', 'value', 'time'])
    return stratified_split(events, .75, 42 + seed)


TABLES = {
    'ml-1m-3': Table('MovieLens 1M, ratings from 3', 'each user random 8:1:1, full ranking', lambda s: shuffled_split(films(3), .1, s),
                     (0, 1, 2, 3, 4), ('ndcg@10', 'recall@10'), 'XSimGCL .2750 (RecBole-GNN), best tuned peer + 3%', True),
    'ml-1m-4': Table('MovieLens 1M, ratings from 4', 'pairs random 8:1:1, full ranking', lambda s: random_split(films(4), (.8, .1, .1), s),
                     (0, 1, 2, 3, 4), ('ndcg@10', 'recall@10'), 'best tuned peer + 3%', True),
    'ml-1m-all': Table('MovieLens 1M, all ratings', 'pairs random 8:1:1, full ranking', lambda s: random_split(films(1), (.8, .1, .1), s),
                       (0, 1, 2, 3, 4), ('ndcg@10', 'recall@10'), 'best tuned peer', True),
    'ml-100k': Table('MovieLens 100K, 75:25', 'each user\'s ratings 75:25, full ranking; 15% of train chooses the settings', hundred,
                     (0, 1, 2, 3, 4), ('ndcg@10', 'precision@10', 'recall@10'), 'BiVAE .4751 (recommenders)', False, True)}


def peers(big: bool) -> dict:
    "Models of the field, with their trials."
    reg = [200., 350., 500., 700., 1000., 1500.] if big else [100., 200., 300., 400., 600., 1000.]
    alphas = [{'item_alpha': i, 'user_alpha': u} for i, u in ((1e-4, 1e-6), (3e-4, 1e-6), (3e-4, 1e-5), (1e-3, 1e-5))]
    slow = {} if big else {'BPR': (BPR, [{'reg': r, 'batch': 1024} for r in (.001, .002, .004, .006, .008, .012)])}   # see benchmarks/ladder.py
    return slow | {
        'Popular': (Popular, [{}]),
        'ItemKNN': (ItemKNN, grid(k=[100, 200, 400], shrink=[0., 10.])),
        'UserKNN': (UserKNN, grid(k=[50, 100, 200], shrink=[0., 10.])),
        'LightGCN, closed form': (LowPass, grid(dim=[32, 64, 128], weight=[.3, 1.])),
        'LightFM': (LightFMModel, [{'lr': .03, 'epochs': 100, **a} for a in alphas]),
        'iALS': (IALS, grid(dim=[64, 128], reg=[20., 50., 100.], alpha=[2., 5.]) if big else grid(dim=[16, 32, 64], reg=[5., 10., 20., 40.], alpha=[2.])),
        'EASE': (EASE, [{'reg': r} for r in reg])}


def ours(big: bool) -> dict:
    "Models of this book, with their trials."
    regs = [300., 500.]
    fusion = dict(precision='bfloat16', epochs=40, every=2, batch=1024 if big else 256, lr=.01)
    turned = [{**fusion, 'every': 1, 'lr': lr, 'start': 'ials', 'strength': 3., 'dim': d} for lr, d in product((.001, .003), (64, 128))]
    return {
        'WeightedEASE': (WeightedEASE, grid(reg=regs, value_power=[.5, 1.], dropout=[.3, .5], item_power=[.1, .15])),
        'WeightedEASE, pairs alone': (WeightedEASE, grid(reg=regs, dropout=[.3, .5], item_power=[.1, .15])),
        'Fusion': (Fusion, [{**fusion, 'dim': d, 'user_reg': u, 'item_reg': i} for d, u, i in
                            product((64, 128), (.1, .16), (.007, .014))] + turned),
        'Fusion on the graph': (Fusion, [{**fusion, 'layers': 2, 'dim': d, 'user_reg': u, 'item_reg': i} for d, u, i in
                                         product((64, 128), (.03, .1), (.005, .01))] + [{**t, 'layers': 2} for t in turned])}


BLEND = ('WeightedEASE', 'Fusion', 'iALS', 'UserKNN')   # parts of the blend


class Bench:
    "The results so far, and the file they go to."
    def __init__(self, out: Path):
        self.out = out
        self.results = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {'tables': {}}

    def write(self) -> None:
        "Write it all."
        self.results |= {'date': str(date.today()), 'machine': machine(), 'versions': versions(), 'commit': commit()}
        with write_aside(self.out) as aside: aside.write_text(json.dumps(self.results, indent=1) + '\n', encoding='utf-8')

    def choose(self, key: str) -> None:
        "Try all settings on the validation part of the first split."
        table = TABLES[key]
        entry = self.results['tables'].setdefault(key, {'models': {}})
        entry |= {'title': table.title, 'protocol': table.protocol, 'mark': table.mark, 'metrics': list(table.metrics)}
        split = table.split(table.seeds[0])
        if table.carved: split = carve(split, 'random')[0]
        models = peers(table.big) | ours(table.big)
        entry['models'] = {name: m for name, m in entry['models'].items() if name in (*models, 'Blend')}
        for name, (make, trials) in models.items():
            mine = entry['models'].setdefault(name, {'trials': []})
            mine['trials'] = [row for row in mine['trials'] if row['settings'] in trials]
            for settings in trials:
                if len(trials) == 1 or settings in [row['settings'] for row in mine['trials']]: continue
                model = self.make(make, settings, split).fit(split.train)
                value = valid_ndcg(model, split.valid, split.train.matrix())
                mine['trials'].append({'settings': settings, 'valid': round(value, 5), 'fit_seconds': round(model.fit_seconds, 2)} |
                                      self.epochs(model))
                print(key, name, mine['trials'][-1], flush=True)
                self.write()
            best = max(mine['trials'], key=lambda row: row['valid']) if mine['trials'] else {'settings': {}}
            mine |= {'settings': best['settings'] | {k: best[k] for k in ('epochs',) if k in best}, 'valid': best.get('valid')}
        self.write()

    def make(self, make: Callable, settings: dict, split: Split | None) -> Recommender:
        "A model; with a split, the number of epochs is chosen on its validation part."
        takes = make in (Fusion, LightFMModel)
        return make(**settings, **({'valid': split.valid} if takes and split else {}))

    def epochs(self, model: Recommender) -> dict:
        "The number of epochs that the validation part chose."
        if isinstance(model, Fusion): return {'epochs': model.epoch}
        if isinstance(model, LightFMModel): return {'epochs': max(model.trail, key=lambda t: t[1])[0]}
        return {}

    def judge(self, key: str) -> None:
        "Fit the chosen models on every split and compare them on the test parts, paired by user."
        table, entry = TABLES[key], self.results['tables'][key]
        makers = {name: make for name, (make, _) in (peers(table.big) | ours(table.big)).items()}
        runs = []
        for seed in table.seeds:
            split = table.split(seed)
            inner, final = carve(split, 'random') if table.carved else (split, split)
            fitted = lambda name, part: self.fitted(f'{key}-{seed}', name, makers[name], entry['models'][name]['settings'], part.train)
            shares = Weighted({name: fitted(name, inner) for name in BLEND}, valid=inner.valid, max_users=6040).fit(inner.train).shares
            built = {name: fitted(name, final) for name in makers}
            built['Blend'] = Weighted({name: built[name] for name in BLEND}, weights=shares)
            report = evaluate(built, final, list(table.metrics))
            runs.append((seed, shares, report))
            print(report.summary()[list(table.metrics)].round(4), flush=True)
            self.note(entry, runs, table)

    def fitted(self, folder: str, name: str, make: Callable, settings: dict, train: Dataset) -> Recommender:
        "A model with these settings, from a former run if there was one."
        model = self.make(make, settings, None)
        code = sha256(json.dumps([name, repr(model), len(train)]).encode()).hexdigest()[:12]
        path = cache_dir('benchmarks', 'models', folder)/code
        if path.exists(): return make.load(path)
        model.fit(train).save(path)
        return model

    def note(self, entry: dict, runs: list, table: Table) -> None:
        "Means and spread over the splits, and differences to the best peer."
        metric = table.metrics[0]
        means = {name: [r.summary().loc[name, list(table.metrics)].tolist() for _, _, r in runs] for name in runs[0][2].models}
        for name, rows in means.items():
            mine = entry['models'].setdefault(name, {})
            mine['test'] = dict(zip(table.metrics, np.mean(rows, axis=0).round(5).tolist()))
            mine['by split'] = [round(row[0], 5) for row in rows]
            mine['fit_seconds'] = round(float(np.median([r.summary().loc[name, 'fit_seconds'] for _, _, r in runs])), 2)
        peer = max(peers(table.big), key=lambda name: entry['models'][name]['test'][metric])
        weights = [{k: round(v, 3) for k, v in shares.items()} for _, shares, _ in runs]
        entry |= {'best peer': peer, 'seeds': list(table.seeds[:len(runs)]), 'weights': weights}
        for name in (*ours(table.big), 'Blend'):
            rows = [r.compare(name, peer, metric) for _, _, r in runs]
            entry['models'][name]['against'] = {
                'peer': peer, 'ratio': round(entry['models'][name]['test'][metric] / entry['models'][peer]['test'][metric], 4),
                'splits': [{'difference': round(c.difference, 5), 'low': round(c.low, 5), 'high': round(c.high, 5), 'p': c.p} for c in rows]}
        self.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'models.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=list(TABLES), choices=list(TABLES), help='some of the tables')
    parser.add_argument('--judge', action='store_true', help='no trials, the test parts alone')
    args = parser.parse_args()
    bench = Bench(args.out)
    for key in args.only:
        start = perf_counter()
        if not args.judge: bench.choose(key)
        bench.judge(key)
        print(f'{key}: {perf_counter() - start:.0f} s', flush=True)


if __name__ == '__main__': main()
