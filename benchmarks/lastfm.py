"""Artists and listeners (Last.fm): tuned models without a text, models with texts, their controls, and blends of both.

The split is the one that comes with the files. Settings and weights are chosen on 15% of the train part; the chosen model
is fitted again on all of it, and asked once for the test part. Each model has the same number of trials. Where chance has a
part there are five seeds, and each user's value is the mean over the seeds. The texts on artists were written by a language
model from the whole train part, so they may know the pairs that settings are chosen by; of the test part they know nothing.
Results, settings and trials go to a JSON file after each step; what the file has is not repeated.

    python benchmarks/lastfm.py                          # all: about half an hour on one core, and one minute for the texts
    python benchmarks/lastfm.py --only EASE AlphaRec     # some models; blends want all of them
"""
import argparse
import json
import os
from datetime import date
from pathlib import Path
from typing import Any, Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
import pandas as pd
from common import commit, machine, versions
from ladder import carve, grid

from recbook.baselines import Popular, Recommender
from recbook.blend import Weighted
from recbook.cf import EASE, ItemKNN
from recbook.compare import make_report
from recbook.controls import shuffled
from recbook.core import cache_dir, load_arrays, save_arrays, write_aside
from recbook.data import Split
from recbook.encode import Encoder
from recbook.evaluate import evaluate
from recbook.factors import BPR, IALS
from recbook.graph import LowPass
from recbook.stacked import SideEASE
from recbook.views import AlphaRec
from recbook.views_agree import RLMRec
from recbook.written import load_texts

HERE = Path(__file__).parent
METRICS = ('ndcg@20', 'recall@20')                       # the first one chooses
TRIALS, SEEDS = 6, range(5)
PEERS = ('ItemKNN', 'EASE', 'iALS', 'LowPass', 'BPR')    # the best of them is the mark



def models(vectors: np.ndarray) -> dict[str, tuple[Callable, list[dict], bool]]:
    "Name -> maker of (seed, settings), settings to try, and whether chance has a part."
    moved = lambda seed: shuffled(vectors, seed)
    alpha = lambda source: lambda seed, **s: AlphaRec(item_vectors=source(seed), seed=seed, precision='bfloat16', **s)
    rlm = lambda agree, source: lambda seed, **s: RLMRec(item_vectors=source(seed), agree=agree, seed=seed, precision='bfloat16', **s)
    same, tried = lambda seed: vectors, grid(TRIALS, dim=[64, 128], temperature=[.1, .15, .2], epochs=[20, 35], lr=[.003, .005])
    ids = grid(TRIALS, dim=[64, 128], temperature=[.1, .15, .2], epochs=[12, 20], weight=[.03, .1, .3])
    return {
        'Popular': (lambda seed: Popular(), [{}], False),
        'ItemKNN': (lambda seed, **s: ItemKNN(**s), grid(TRIALS, k=[20, 50, 100, 200], shrink=[0., 5., 10., 20.]), False),
        'EASE': (lambda seed, **s: EASE(**s), [{'reg': r} for r in (30., 50., 75., 100., 150., 200.)], False),
        'iALS': (lambda seed, **s: IALS(seed=seed, **s), [{'dim': d, 'reg': r, 'alpha': a} for d, r, a in (
            (64, 20., 5.), (64, 40., 10.), (128, 40., 10.), (128, 40., 20.), (128, 80., 20.), (128, 80., 40.))], True),
        'LowPass': (lambda seed, **s: LowPass(seed=seed, **s), [{'dim': d, 'weight': w} for d, w in (
            (64, 1.), (96, .3), (96, 1.), (128, .3), (128, 1.), (128, 3.))], False),
        'BPR': (lambda seed, **s: BPR(seed=seed, lr=.005, batch=1024, **s), grid(TRIALS, dim=[64, 128], reg=[.004, .01, .02], epochs=[30, 45]), True),
        'SideEASE, texts': (lambda seed, **s: SideEASE(vectors, **s), grid(TRIALS, reg=[50., 75., 100.], weight=[3., 10., 30.]), False),
        'LightGCN, softmax': (rlm('off', same), [{k: v for k, v in s.items() if k != 'weight'} for s in ids], True),
        'AlphaRec': (alpha(same), tried, True),
        'AlphaRec, shuffled texts': (alpha(moved), tried, True),
        'RLMRec, contrast': (rlm('contrast', same), ids, True),
        'RLMRec, rebuild': (rlm('rebuild', same), ids, True),
        'RLMRec, contrast, shuffled texts': (rlm('contrast', moved), ids, True)}


BLENDS = {'blend without texts': ('ItemKNN', 'EASE', 'iALS', 'LowPass', 'LightGCN, softmax'),
          'blend with texts': ('ItemKNN', 'EASE', 'iALS', 'LowPass', 'LightGCN, softmax', 'AlphaRec', 'RLMRec, contrast'),
          'blend with shuffled texts': ('ItemKNN', 'EASE', 'iALS', 'LowPass', 'LightGCN, softmax', 'AlphaRec, shuffled texts',
                                        'RLMRec, contrast, shuffled texts')}


class Bench:
    "The results so far, and the file they go to; fitted models and the values of each user lie in a folder."
    def __init__(self, out: Path, work: Path):
        self.out, self.work = out, work
        self.results = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {'models': {}}
        written, encoder = load_texts('lastfm-colakg'), Encoder('minilm')
        self.choose, self.final = carve(written.split, 'random')
        self.vectors = encoder.encode(written.items)                                 # labelled with the train part
        self.blind = models(np.asarray(self.vectors))                                # without a label: see above
        self.open = models(self.vectors)

    def write(self) -> None:
        "All that is known, aside and renamed."
        self.results |= {'data': repr(self.final.train), 'test': len(self.final.test), 'metrics': METRICS, 'trials': TRIALS, 'seeds': len(SEEDS),
                         'peers': PEERS, 'blends': BLENDS, 'date': str(date.today()), 'machine': machine(), 'versions': versions(), 'commit': commit()}
        with write_aside(self.out) as aside: aside.write_text(json.dumps(self.results, indent=1) + '\n', encoding='utf-8')

    def entry(self, name: str) -> dict: return self.results['models'].setdefault(name, {'trials': []})

    def choose_settings(self, name: str) -> None:
        "Try what has not been tried."
        make, settings, _ = self.blind[name]
        mine = self.entry(name)
        for s in settings:
            if s in [row['settings'] for row in mine['trials']]: continue
            model = make(0, **s)
            report = evaluate({name: model}, self.choose, list(METRICS), on='valid', unproven=True)
            mine['trials'].append({'settings': s, 'valid': dict(zip(METRICS, report.values[0].mean(axis=0).round(5).tolist())),
                                   'fit_seconds': round(model.fit_seconds, 2)})
            print(name, mine['trials'][-1], flush=True)
            self.write()
        mine['settings'] = max(mine['trials'], key=lambda row: row['valid'][METRICS[0]])['settings']

    def fitted(self, name: str, split: Split, seed: int) -> Recommender:
        "A model with the chosen settings, from a former run if there was one."
        make = (self.open if split is self.final else self.blind)[name][0]
        chance, part = self.open[name][2], 'final' if split is self.final else 'choose'
        model = make(seed if chance else 0, **self.entry(name)['settings'])
        folder = self.work / f'{part}-{name}-{seed if chance else 0}'
        if folder.exists(): return type(model).load(folder)
        model.fit(split.train)
        model.save(folder)
        return model

    def judge(self, name: str, make: Callable[[int], Recommender], seeds: Any) -> None:
        "The test part, once: each user's mean over the seeds."
        mine, folder = self.entry(name), self.work / f'values-{name}'
        if mine.get('seeds') == len(list(seeds)) and folder.exists(): return
        found, users = [], None
        for seed in seeds:
            report = evaluate({name: make(seed)}, self.final, list(METRICS), unproven=True)
            found.append(report.values[0])
            users = report.users
        values = np.mean(found, axis=0)
        save_arrays(folder, 'Values', {'values': values, 'users': users}, {})
        spread = np.std([v.mean(axis=0) for v in found], axis=0)
        mine |= {'test': dict(zip(METRICS, values.mean(axis=0).round(6).tolist())), 'deviation': dict(zip(METRICS, spread.round(6).tolist())),
                 'seeds': len(list(seeds))}
        print('TEST', name, mine['test'], flush=True)
        self.write()

    def model(self, name: str) -> None:
        "Choose, fit, judge."
        self.choose_settings(name)
        self.judge(name, lambda seed: self.fitted(name, self.final, seed), SEEDS if self.open[name][2] else (0,))

    def blend(self, name: str) -> None:
        "Weights by the validation part, on models fitted without it; the test with models fitted on all."
        parts, mine = BLENDS[name], self.entry(name)
        if 'settings' not in mine:
            known = {part: self.fitted(part, self.choose, 0) for part in parts}
            mixed = Weighted(known, valid=self.choose.valid, k=20, max_users=2000).fit(self.choose.train)
            mine['settings'] = {part: round(share, 4) for part, share in mixed.shares.items() if share > 0}
            print(name, mine['settings'], flush=True)
            self.write()
        shares = mine['settings']
        make = lambda seed: Weighted({part: self.fitted(part, self.final, seed) for part in shares}, weights=shares).fit(self.final.train)
        self.judge(name, make, SEEDS)

    def compare(self) -> None:
        "Every model against the best peer, and what else a claim needs; p-values corrected together (Holm)."
        done = {n: load_arrays(self.work / f'values-{n}', 'Values')[0] for n, m in self.results['models'].items() if 'test' in m}
        users = next(iter(done.values()))['users']
        report = make_report({n: pd.DataFrame(a['values'], columns=list(METRICS)) for n, a in done.items()}, users)
        best = max((p for p in PEERS if p in done), key=lambda p: self.results['models'][p]['test'][METRICS[0]])
        self.results |= {'best_peer': best, 'against': {}}
        for control in (best, 'LightGCN, softmax', 'blend without texts', 'blend with shuffled texts'):
            if control not in done: continue
            self.results['against'][control] = {m: report.against(control, m)[['difference', 'low', 'high', 'p']].round(5).to_dict('index') for m in METRICS}
        self.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'lastfm.json', help='where the results go')
    parser.add_argument('--work', type=Path, help='where fitted models and the values of each user are kept; else the cache folder')
    parser.add_argument('--only', nargs='*', metavar='NAME', help='some models or blends')
    args = parser.parse_args()
    bench = Bench(args.out, args.work or cache_dir('benchmarks', 'lastfm'))
    names = args.only or [*bench.open, *BLENDS]
    for name in names: (bench.blend if name in BLENDS else bench.model)(name)
    bench.compare()


if __name__ == '__main__': main()
