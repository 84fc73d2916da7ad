"""Predicted ratings on the five given folds of MovieLens 100K: recbook and Surprise, the same folds and settings, in one run.

The settings of the two SVDs are equal (100 factors, 20 epochs, steps of .005, reg .02). Two models are there with chosen settings
as well: in each fold by a tenth of its own training part, eight trials each, and then fitted on the whole training part. The rest
runs as it comes. Models with chance run with five seeds. Surprise is asked where it can be imported, or through another interpreter; else it is skipped.

    python3 -m venv FOLDER; FOLDER/bin/pip install 'numpy<2' scikit-surprise
    python benchmarks/ratings.py --surprise FOLDER/bin/python     # six minutes on one core
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np

HERE = Path(__file__).parent
SEEDS = range(5)
SVD = {'epochs': 20, 'lr': .005, 'reg': .02}
TRIALS = {'BiasedSVD': [{'epochs': e, 'reg': r} for e, r in ((20, .02), (20, .05), (40, .05), (40, .1), (60, .1), (60, .15), (100, .1), (100, .15))],
          'BiasedALS': [{'dim': d, 'reg': r} for d, r in ((40, .05), (40, .07), (40, .1), (40, .12), (40, .15), (40, .2), (80, .1), (80, .15))]}


def peer(folder: Path) -> None:
    "Surprise's predictions of each fold, in an interpreter that may lack recbook."
    import surprise
    makers = {'Surprise SVD': lambda seed: surprise.SVD(n_factors=100, n_epochs=20, lr_all=.005, reg_all=.02, random_state=seed),
              'Surprise SlopeOne': lambda seed: surprise.SlopeOne(),
              'Surprise BaselineOnly': lambda seed: surprise.BaselineOnly(verbose=False)}
    data, found, seconds = surprise.Dataset(surprise.Reader(rating_scale=(1, 5))), {}, {}
    for file in sorted(folder.glob('fold*.npz')):
        with np.load(file) as f: train, test = f['train'], f['test']
        trainset = data.construct_trainset([(int(u), int(i), float(r), None) for u, i, r in train])
        for name, make in makers.items():
            for seed in (SEEDS if name == 'Surprise SVD' else [0]):
                start, model = time.perf_counter(), make(seed)
                model.fit(trainset)
                seconds.setdefault(name, []).append(time.perf_counter() - start)
                found[f'{name}|{file.stem}|{seed}'] = [model.predict(int(u), int(i)).est for u, i, _ in test]
    np.savez(folder/'peer.npz', **found)
    (folder/'peer.json').write_text(json.dumps({'version': surprise.__version__, 'seconds': seconds}))


def run_peer(python: str, tables: list) -> tuple[dict, dict]:
    "Predictions by (model, fold, seed), and what is known beside."
    with tempfile.TemporaryDirectory() as folder:
        for k, (train, test) in enumerate(tables): np.savez(Path(folder)/f'fold{k}.npz', train=train, test=test)
        subprocess.run([python, __file__, '--as-peer', folder], check=True)
        with np.load(Path(folder)/'peer.npz') as f:
            found = {tuple(key.split('|')): f[key] for key in f.files}
        return found, json.loads((Path(folder)/'peer.json').read_text())


def error(model: object, events: object) -> float:
    "RMSE of a fitted model on events."
    predicted = model.predict(*(events[c].to_numpy() for c in ('user', 'item')))
    return float(np.sqrt(((predicted - events['value'].to_numpy()) ** 2).mean()))


def choose(fold: object) -> dict:
    "By model: the errors of all trials on a tenth of the fold's training part, and the settings with the least."
    from recbook.data import random_split
    from recbook.svd import BiasedALS, BiasedSVD
    part, made = random_split(fold.train, (.9, 0., .1), seed=0), {'BiasedSVD': BiasedSVD, 'BiasedALS': BiasedALS}
    found = {name: [error(made[name](**s).fit(part.train), part.test.events) for s in trials] for name, trials in TRIALS.items()}
    return {name: {'errors': np.round(e, 5).tolist(), 'settings': TRIALS[name][int(np.argmin(e))]} for name, e in found.items()}


def run_ours(folds: list, chosen: list) -> tuple[dict, dict]:
    "The same for recbook; `chosen` holds settings for each fold."
    from recbook.baselines import UserMean
    from recbook.ratings import Biases, GlobalMean, SlopeOne
    from recbook.svd import BiasedALS, BiasedSVD
    makers = {'GlobalMean': lambda seed: GlobalMean(), 'UserMean': lambda seed: UserMean(), 'Biases': lambda seed: Biases(),
              'SlopeOne': lambda seed: SlopeOne(), 'BiasedSVD': lambda seed: BiasedSVD(dim=100, seed=seed, **SVD)}
    found, seconds = {}, {}
    for k, fold in enumerate(folds):
        best = {name: c['settings'] for name, c in chosen[k].items()}
        makers |= {'BiasedSVD, chosen': lambda seed, best=best: BiasedSVD(seed=seed, **best['BiasedSVD']),
                   'BiasedALS, chosen': lambda seed, best=best: BiasedALS(seed=seed, **best['BiasedALS'])}
        u, i = (fold.test.events[c].to_numpy() for c in ('user', 'item'))
        for name, make in makers.items():
            for seed in (SEEDS if name.startswith(('BiasedSVD', 'BiasedALS')) else [0]):
                model = make(seed).fit(fold.train)
                seconds.setdefault(name, []).append(model.fit_seconds)
                found[name, f'fold{k}', str(seed)] = model.predict(u, i)
    return found, seconds


def judge(found: dict, truth: list) -> dict:
    "By model: errors of each fold (means over seeds) and of all."
    rows = {}
    for (name, fold, _), predicted in found.items():
        e = predicted - truth[int(fold[4:])]
        rows.setdefault(name, {}).setdefault(fold, []).append((np.sqrt((e ** 2).mean()), np.abs(e).mean()))
    folds = {name: np.array([np.mean(row[f], axis=0) for f in sorted(row)]) for name, row in rows.items()}
    return {name: {'rmse': float(f[:, 0].mean()), 'mae': float(f[:, 1].mean()), 'rmse of folds': f[:, 0].round(5).tolist(),
                   'seeds': len(rows[name]['fold0'])} for name, f in folds.items()}


def per_user(found: dict, name: str, folds: list) -> np.ndarray:
    "Each user's mean squared error over all their ratings, and over seeds."
    total, n = np.zeros(folds[0].train.n_users), np.zeros(folds[0].train.n_users)
    for (model, k, _), predicted in found.items():
        if model != name: continue
        e = folds[int(k[4:])].test.events
        total += np.bincount(e['user'], (predicted - e['value'].to_numpy()) ** 2, len(n))
        n += np.bincount(e['user'], minlength=len(n))
    return total / np.maximum(n, 1)


def against(found: dict, name: str, other: str, folds: list) -> dict:
    "How much larger the squared error of a user is under the one than under the other: mean, interval, p."
    import pandas as pd
    from recbook.compare import make_report
    squares = {n: pd.DataFrame({'squared error': per_user(found, n, folds)}) for n in (name, other)}
    c = make_report(squares, np.arange(folds[0].train.n_users)).compare(name, other)
    return {'mean': c.difference, 'interval': [c.low, c.high], 'p': c.p}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--surprise', metavar='PYTHON', help='an interpreter that has Surprise')
    args.add_argument('--as-peer', metavar='FOLDER', type=Path, help=argparse.SUPPRESS)
    args.add_argument('--out', type=Path, default=HERE/'results'/'ratings.json')
    args = args.parse_args()
    if args.as_peer: return peer(args.as_peer)
    from common import commit, machine, versions
    from recbook.core import write_aside
    from recbook.sources import read_folds
    folds = list(read_folds('ml-100k'))
    tables = [tuple(p.events[['user', 'item', 'value']].to_numpy(float) for p in (f.train, f.test)) for f in folds]
    chosen = [choose(fold) for fold in folds]
    for fold, c in zip(folds, chosen): print(' ', fold.spec, {name: one['settings'] for name, one in c.items()}, flush=True)
    found, seconds = run_ours(folds, chosen)
    python = args.surprise or (sys.executable if importlib.util.find_spec('surprise') else None)
    made = {'what': 'ml-100k, the given folds u1 to u5; rmse and mae are means of five folds, seconds the median fit of a fold',
            'settings': {'both SVDs': {'dim': 100, **SVD}, 'others': 'defaults, not tuned'},
            'chosen': {'trials': TRIALS, 'by': 'RMSE on a tenth of the training part of each fold', 'folds': chosen}, 'date': date.today().isoformat(),
            'commit': commit(), 'machine': machine(), 'versions': versions()}
    if python:
        theirs, about = run_peer(python, tables)
        found, seconds = found | theirs, seconds | about['seconds']
        made['versions']['scikit-surprise'] = about['version']
    else: print("SKIPPED Surprise: pip install 'numpy<2' scikit-surprise, or --surprise PYTHON", flush=True)
    made['models'] = judge(found, [test[:, 2] for _, test in tables])
    for name, m in made['models'].items():
        m['seconds'] = float(np.median(seconds[name]))
        print(f"  {name}: RMSE {m['rmse']:.4f}, MAE {m['mae']:.4f}, {m['seconds']:.2f} s a fold", flush=True)
    made['chosen']['squared error of a user, ALS minus SVD'] = against(found, 'BiasedALS, chosen', 'BiasedSVD, chosen', folds)
    if python:
        ours, peers = (made['models'][n]['rmse'] for n in ('BiasedSVD', 'Surprise SVD'))
        made['mark'] = {'recbook': ours, 'surprise': peers, 'allowed': .002, 'reached': ours <= peers + .002,
                        'squared error of a user, ours minus theirs': against(found, 'BiasedSVD', 'Surprise SVD', folds)}
        print(made['mark'], flush=True)
    with write_aside(args.out) as aside: aside.write_text(json.dumps(made, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
