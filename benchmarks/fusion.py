"""Training: the seconds that the torch hybrid, LightFM, iALS and EASE take for the same quality, and what they need of memory.

    epochs    MovieLens 1M, all ratings: seconds an epoch of LightFM with 384 dense numbers an item, and of Fusion with the same;
              seconds until Fusion has the validation NDCG@10 of LightFM on ids at its best; the curves of all models
    ease      EASE on MovieLens 1M: the common users of all pairs, and the inverse, by three libraries; 20,000 items, memory
    ials      iALS by recbook and by implicit itself, both from the same log
    compiled  an epoch with and without torch.compile, MovieLens 100K
    large     a million users, 200,000 items, 50,000,000 events, 64 factors: an epoch, in a process whose memory is measured

LightFM runs on one thread, with which it is fastest with dense features; all others use all cores. Rounds are run in turns, and medians count.
Results go to a JSON file; tasks that are not run stay as they are in it.

    python benchmarks/fusion.py                 # all of it: twenty minutes on two cores
    python benchmarks/fusion.py --only ease     # one task
"""
import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Callable

import numpy as np
import pandas as pd
from common import commit, machine, versions
from scipy.sparse import csr_matrix, identity, hstack

from recbook.baselines import valid_ndcg
from recbook.core import write_aside
from recbook.data import Dataset, Split, random_split
from recbook.hybrid import LightFMModel
from recbook.sources import load, locate

HERE = Path(__file__).parent


def race(runs: dict[str, Callable], rounds: int) -> dict:
    "Seconds of each run, in turns: medians."
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return {name: {'median': median(s), 'least': min(s), 'runs': rounds} for name, s in seconds.items()}


def settings(name: str, start: str = 'patterns') -> dict:
    "The best settings that benchmarks/models.py tried for all ratings of MovieLens 1M; of `Fusion`, with this start."
    model = json.loads((HERE / 'results' / 'models.json').read_text(encoding='utf-8'))['tables']['ml-1m-all']['models'][name]
    tried = [row for row in model['trials'] if row['settings'].get('start', 'patterns') == start]
    return {k: v for k, v in max(tried, key=lambda row: row['valid'])['settings'].items() if k != 'epochs'}


def texts() -> np.ndarray:
    "The vectors of the plots of MovieLens 1M, (n_items, 384)."
    from recbook.encode import Encoder
    from recbook.text import item_texts
    data = load('ml-1m')
    plots = pd.read_parquet(locate('ml-1m').parent/'items_plot.parquet').set_index('movie_id')['plot'].fillna('').astype(str)
    data = replace(data, items=data.items.assign(text=[plots.get(i, '') for i in data.items['id']]))
    return np.asarray(Encoder('minilm').encode(item_texts(data)))


def epochs() -> dict:
    "LightFM and Fusion with the same dense features; curves of quality over seconds."
    from lightfm import LightFM
    from recbook.cf import EASE, ItemKNN, UserKNN
    from recbook.elements import centred
    from recbook.factors import IALS
    from recbook.fusion import Fusion
    from recbook.graph import LowPass
    from recbook.stacked import SideEASE
    from recbook.weighted import WeightedEASE
    split, vectors = random_split(load('ml-1m'), (.8, .1, .1), 0), texts()
    x, curves = split.train.matrix(), {}
    dense = hstack([identity(x.shape[1], np.float32), csr_matrix(vectors)], format='csr')
    network = LightFM(no_components=64, loss='warp', random_state=0)
    start = perf_counter()
    network.fit_partial(x, item_features=dense, num_threads=1)
    slow = perf_counter() - start
    print(f'LightFM, dense: {slow:.1f} s an epoch', flush=True)
    ids = LightFMModel(**settings('LightFM') | {'epochs': 100, 'every': 2, 'patience': 4}, valid=split.valid).fit(split.train)
    second = median(ids.epoch_seconds)
    curves['LightFM, ids'] = [(epoch * second, value) for epoch, value in ids.trail]
    best = max(value for _, value in ids.trail)
    took = next(s for s, value in curves['LightFM, ids'] if value == best)
    limits, runs = {'epochs': 30, 'every': 1, 'patience': 6}, {}
    said, turned = {'item_vectors': vectors}, settings('Fusion', 'ials')
    given = {'Fusion, ids': settings('Fusion'), 'Fusion, ids and texts': settings('Fusion') | said,
             'Fusion, ids, strong start': settings('Fusion') | {'strength': 5.}, 'Fusion, ids, from iALS': turned,
             'Fusion, ids and texts, from iALS': turned | said, 'Fusion on the graph': settings('Fusion on the graph')}
    for name, chosen in given.items():
        rounds = []
        for seed in range(3):
            model = Fusion(**chosen | limits, seed=seed)
            begin = begin_of(model, split.train)
            model.valid = split.valid
            model.fit(split.train)
            seconds = np.cumsum([row['seconds'] for row in model.trail]) + begin
            rounds.append({'start': begin, 'epoch': median(row['seconds'] for row in model.trail), 'valid': max(r['value'] for r in model.trail),
                           'to LightFM': next((float(s) for s, r in zip(seconds, model.trail) if r['value'] >= best), None),
                           'test': valid_ndcg(model, split.test, (x + split.valid.matrix()).tocsr())})
            curves[name] = [(float(s), r['value']) for s, r in zip(seconds, model.trail)]
        runs[name] = {key: median(r[key] for r in rounds) if all(r[key] for r in rounds) else None for key in rounds[0]}
        print(name, runs[name], flush=True)
    others = {'ItemKNN': ItemKNN, 'UserKNN': UserKNN, 'LightGCN, closed form': LowPass, 'iALS': IALS, 'EASE': EASE, 'WeightedEASE': WeightedEASE}
    for name, make in others.items():
        made = make(**settings(name) | ({'threads': 0} if make is IALS else {})).fit(split.train)
        curves[name] = [(made.fit_seconds, valid_ndcg(made, split.valid, x))]
    sided = SideEASE(centred(vectors, vectors), weight=30., **settings('EASE')).fit(split.train)     # best on validation of 3, 10, 30, 100
    curves['EASE with texts'] = [(sided.fit_seconds, valid_ndcg(sided, split.valid, x))]
    known = (x + split.valid.matrix()).tocsr()
    curves['iALS, two turns from patterns'] = [two_turns(turned['dim'], split)]
    theirs = {'epoch': second, 'valid': best, 'to best': took, 'test': valid_ndcg(ids, split.test, known)}
    ours, sooner = runs['Fusion, ids and texts'], {name: round(took / run['to LightFM'], 1) for name, run in runs.items() if run['to LightFM']}
    return {'LightFM, dense, epoch': slow, 'LightFM, ids': theirs, **runs, 'curves': curves,
            'marks': {'within a second': {name: round(max(v for s, v in points if s <= 1), 4) for name, points in curves.items() if points[0][0] <= 1},
                      'epoch': round(slow / ours['epoch'], 1), 'to the best of LightFM': sooner,
                      'test': round(ours['test'] / theirs['test'], 4), 'test, ids': round(runs['Fusion, ids']['test'] / theirs['test'], 4)}}


def two_turns(dim: int, split: Split) -> tuple[float, float]:
    "Seconds and validation NDCG@10 of the start of `Fusion(start='ials')` alone."
    from recbook.fusion import Fusion
    start, model, x = perf_counter(), Fusion(dim=dim, start='ials'), split.train.matrix()
    users, items, bias = model._known(x)
    seconds, model.seen = perf_counter() - start, x
    model.user_factors, model.item_factors = users, np.column_stack([items, bias])
    return seconds, valid_ndcg(model, split.valid, x)


def begin_of(model: Any, train: Dataset) -> float:
    "Seconds that the start from patterns takes."
    model.seen, start = train.matrix(), perf_counter()
    model.sizes = model._sizes(train)
    model._start(train)
    del model.__dict__['seen']
    return perf_counter() - start


def ease() -> dict:
    "The table of pairs and its inverse by LAPACK (ours), torch and NumPy; and 20,000 items."
    import torch
    from recbook.cf import _gram, _invert
    x = random_split(load('ml-1m'), (.8, .1, .1), 0).train.matrix()
    dense = torch.from_numpy(x.toarray())
    def given() -> np.ndarray:
        g = _gram(x, 'float32')
        g.flat[::len(g) + 1] += 500
        return g
    def by_torch() -> Any:
        g = dense.T @ dense
        g.diagonal().add_(500)
        return torch.cholesky_inverse(torch.linalg.cholesky(g))
    def by_numpy() -> np.ndarray:
        g = dense.numpy().T @ dense.numpy()
        return np.linalg.inv(g + 500 * np.eye(len(g), dtype=np.float32))
    def by_scipy() -> np.ndarray:
        from scipy.linalg.lapack import spotrf, spotri
        g = np.asfortranarray((dense.T @ dense).numpy())
        g.flat[::len(g) + 1] += 500
        return spotri(spotrf(g, lower=True, overwrite_a=True)[0], lower=True, overwrite_c=True)[0]
    seconds = race({'recbook': lambda: _invert(given()), 'torch': by_torch, 'numpy': by_numpy, 'LAPACK, half a table': by_scipy}, 7)
    best = min(row['median'] for name, row in seconds.items() if name != 'recbook')
    return {'seconds': seconds, 'marks': {'against the best': round(seconds['recbook']['median'] / best, 3)}, '20,000 items': child('wide')}


def wide() -> None:
    "EASE on 20,000 items, in a process of its own."
    from recbook.cf import EASE
    model = EASE(500, max_gb=8).fit(synthetic(50_000, 20_000, 2_000_000))
    report(model.fit_seconds)


def ials() -> dict:
    "iALS by recbook and by implicit, with BLAS at one thread as it asks for; and as it comes."
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits
    from recbook.factors import IALS
    train = random_split(load('ml-1m'), (.8, .1, .1), 0).train
    def theirs() -> None:
        AlternatingLeastSquares(64, 20., 2., iterations=15, num_threads=0, random_state=0).fit(train.matrix(), show_progress=False)
    def heeded() -> None:
        with threadpool_limits(1, 'blas'): theirs()
    seconds = race({'recbook': lambda: IALS(64, 20., 2., 15, threads=0).fit(train), 'implicit': heeded, 'implicit, BLAS on all cores': theirs}, 5)
    return {'seconds': seconds, 'marks': {'against implicit': round(seconds['recbook']['median'] / seconds['implicit']['median'], 3)}}


def compiled() -> dict:
    "Seconds of the first epoch and of a later one, as PyTorch runs them and compiled."
    from recbook.fusion import Fusion
    from recbook.state import GRU4Rec
    from recbook.transformer import SASRec
    train = load('ml-100k')
    makers = {'Fusion': (Fusion, {'epochs': 12}), 'Fusion on the graph': (Fusion, {'epochs': 12, 'layers': 2}),
              'GRU4Rec': (GRU4Rec, {'epochs': 4}), 'SASRec': (SASRec, {'epochs': 4})}
    found = {}
    for name, (make, settings) in makers.items():
        for how in (False, True):
            seconds = [row['seconds'] for row in make(**settings, compiled=how).fit(train).trail]
            found.setdefault(name, {})['compiled' if how else 'plain'] = {'first': round(seconds[0], 3), 'later': round(median(seconds[1:]), 3)}
        print(name, found[name], flush=True)
    return {'seconds': found, 'marks': {name: round(row['compiled']['later'] / row['plain']['later'], 3) for name, row in found.items()}}


def synthetic(n_users: int, n_items: int, n_events: int) -> Dataset:
    "Events of users and items drawn with long tails."
    rng = np.random.default_rng(0)
    user = (n_users * rng.random(n_events, np.float32) ** 1.5).astype(np.int32)
    item = (n_items * rng.random(n_events, np.float32) ** 2.5).astype(np.int32)
    events = pd.DataFrame({'user': user, 'item': item, 'time': np.zeros(n_events, np.int64), 'value': np.ones(n_events, np.float32)})
    ids = lambda n: pd.DataFrame({'id': np.arange(n)})
    return Dataset(events, ids(n_items), ids(n_users), name='synthetic')


def large() -> dict:
    "An epoch of Fusion on fifty million events."
    return child('million')


def million() -> None:
    "In a process of its own."
    from recbook.fusion import Fusion
    train = synthetic(1_000_000, 200_000, 50_000_000)
    model = Fusion(loss='sampled', rivals=256, start='noise', epochs=1, batch=1 << 18, precision='bfloat16').fit(train)
    report(model.trail[0]['seconds'], pairs=int(model.seen.nnz))


def child(task: str) -> dict:
    "What another process reports."
    out = subprocess.run([sys.executable, __file__, '--child', task], capture_output=True, text=True, check=True, cwd=HERE).stdout
    return json.loads(out.strip().splitlines()[-1])


def report(seconds: float, **more: Any) -> None:
    "Seconds and the most memory that this process has had."
    import resource
    print(json.dumps({'seconds': round(seconds, 2), 'peak_gb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)} | more))


TASKS = {'epochs': epochs, 'ease': ease, 'ials': ials, 'compiled': compiled, 'large': large}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'fusion.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=list(TASKS), choices=list(TASKS), help='some of the tasks')
    parser.add_argument('--child', choices=('wide', 'million'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return {'wide': wide, 'million': million}[args.child]()
    for task in args.only:
        found = TASKS[task]()
        results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
        results |= {task: found | {'date': str(date.today()), 'commit': commit()}, 'machine': machine(os.cpu_count()), 'versions': versions()}
        with write_aside(args.out) as aside: aside.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        print(task, json.dumps(found.get('marks', found)), flush=True)


if __name__ == '__main__': main()
