"""Models of sequences on three published protocols: MovieLens 1M and Beauty with the last item left out, and the NCF files.

Settings, and the weights of blends, are chosen on the validation part; then the models learn from all that the protocol allows
(tables are counted anew, networks learn on for two epochs with the validation events behind the others), and are tested once.
Networks are trained with several seeds, and a user's value is the mean over them. Fitted models and checkpoints are kept in
the cache folder: a run goes on where it stood. The file changes when a rung has been judged.

    python benchmarks/sequences.py                    # everything: three hours on one core, 40 minutes for each seed
    python benchmarks/sequences.py --only beauty      # one rung; the others stay as they are in the file
"""
import argparse
import json
import os
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
import pandas as pd
from common import commit, machine, versions
from ladder import Rung, beauty, last, ncf

from recbook.baselines import Recommender
from recbook.blend import Weighted
from recbook.bridge import side_by_side
from recbook.cf import EASE, ItemKNN
from recbook.compare import Report, make_report
from recbook.core import cache_dir, write_aside
from recbook.data import Split
from recbook.descent import Trained
from recbook.evaluate import evaluate
from recbook.provenance import trace
from recbook.sequence import Transitions
from recbook.sources import locate
from recbook.transformer import SASRec

HERE = Path(__file__).parent
MORE = 2                                                               # epochs with the validation events
Models = dict[str, tuple[Callable[..., Recommender], list[dict]]]      # name -> maker, settings to try
Blends = dict[str, tuple[str, ...]]                                    # name -> names of models

STEPS = [dict(zip(('lags', 'fade', 'memory', 'shrink', 'popular'), row)) for row in (
    (1, 1., .75, 20., 0.), (10, .7, .75, 20., 0.), (10, .7, .75, 20., .15), (10, .85, .85, 20., .15), (5, .6, .75, 0., .15))]
FILMS = {'max_len': 200, 'batch': 4096, 'warmup': 200, 'precision': 'bfloat16', 'every': 4, 'patience': 50}
SHELF = {'max_len': 30, 'batch': 512, 'warmup': 100, 'precision': 'bfloat16', 'every': 4, 'loss': 'sampled', 'negatives': 512}


def films() -> tuple[Rung, Models, Blends]:
    "MovieLens 1M, all ratings, leave the last out."
    rung, _ = last()
    models = {'EASE': (EASE, [{'reg': r} for r in (50., 100., 200., 500., 1000.)]), 'Transitions': (Transitions, STEPS),
              'SASRec': (SASRec, [FILMS | {'dim': 128, 'lr': .001, 'epochs': 16, 'dropout': .2}])}
    return rung, models, {'SASRec + Transitions': ('SASRec', 'Transitions'), 'SASRec + Transitions + EASE': ('SASRec', 'Transitions', 'EASE')}


def hundred() -> tuple[Rung, Models, Blends]:
    "The NCF files: the last rating of each user among 99 others."
    rung, _ = ncf()
    models = {'EASE': (EASE, [{'reg': r} for r in (200., 500., 1000., 2000., 4000.)]), 'Transitions': (Transitions, STEPS),
              'SASRec': (SASRec, [FILMS | {'max_len': 100, 'dim': 64, 'lr': .002, 'epochs': 8, 'dropout': .2, 'loss': 'sampled', 'negatives': 512}])}
    return rung, models, {'SASRec + Transitions + EASE': ('SASRec', 'Transitions', 'EASE')}


def phrases(rung: Rung) -> np.ndarray:
    "Vectors of what is known of the items: a phrase, encoded, beside attributes; (n_items, 384 + 64)."
    from recbook.encode import Encoder
    table = pd.read_parquet(locate('amazon2014-beauty').parent/'items_llm_phrase.parquet').set_index('s3rec_id')
    table = table.reindex(rung.final.train.items['id'].astype(int))
    said = Encoder('minilm').encode(table['llm_phrase'].fillna('').tolist())
    return trace(side_by_side(said, attributes(table['s3rec_attr_ids'].fillna('').str.split())))       # of no event


def attributes(ids: pd.Series, dim: int = 64) -> np.ndarray:
    "Attributes as dense vectors: the strongest patterns of the rare ones."
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd
    code, _ = pd.factorize(ids.explode().dropna())
    x = csr_matrix((np.ones(len(code)), (np.repeat(np.arange(len(ids)), ids.str.len()), code)))
    x = x @ csr_matrix(np.diag(np.log(len(ids) / np.asarray(x.sum(axis=0)).ravel())))
    u, s, _ = randomized_svd(x, dim, random_state=0)
    return (u * s).astype(np.float32)


def shelf() -> tuple[Rung, Models, Blends]:
    "Amazon Beauty, S3-Rec file."
    rung, _ = beauty()
    texts = phrases(rung)
    models = {'ItemKNN': (ItemKNN, [{'k': k, 'shrink': s} for k, s in ((10, 20.), (20, 10.), (20, 20.), (20, 50.), (100, 20.))]),
              'Transitions': (Transitions, STEPS),
              'SASRec, text': (lambda **s: SASRec(texts=texts, **s), [SHELF | {'dim': 64, 'lr': .002, 'epochs': 16, 'dropout': .3}])}
    return rung, models, {'SASRec, text + ItemKNN': ('SASRec, text', 'ItemKNN'),
                          'SASRec, text + ItemKNN + Transitions': ('SASRec, text', 'ItemKNN', 'Transitions')}


RUNGS: dict[str, Callable[[], tuple[Rung, Models, Blends]]] = {'ml-1m': films, 'ncf_ml-1m': hundred, 'beauty': shelf}


class Bench:
    "The results so far, and the files they go to."
    def __init__(self, out: Path):
        self.out, self.fitted = out, {}
        self.results = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {'rungs': {}}

    def write(self, key: str) -> None:
        "Write it all; rungs that another run has written meanwhile are kept."
        if self.out.exists():
            other = json.loads(self.out.read_text(encoding='utf-8'))['rungs']
            self.results['rungs'] = dict(sorted((other | {key: self.results['rungs'][key]}).items()))
        self.results |= {'date': str(date.today()), 'machine': machine(), 'versions': versions(), 'commit': commit()}
        with write_aside(self.out) as aside: aside.write_text(json.dumps(self.results, indent=1) + '\n', encoding='utf-8')

    def fit(self, key: str, name: str, model: Recommender, split: Split) -> Recommender:
        "The model, fitted on the part that chooses, or loaded if that was done before."
        folder = cache_dir('benchmarks', 'sequences', key)/sha256(json.dumps([name, repr(model)]).encode()).hexdigest()[:12]
        if (folder/'meta.json').exists(): return type(model).load(folder)
        if isinstance(model, Trained): model.checkpoint, model.valid = folder.with_suffix('.pt'), split.valid
        model.fit(split.train).save(folder)
        return model

    def final(self, key: str, name: str, rung: Rung, make: Callable, settings: dict, seed: int) -> Recommender:
        "The model with the validation events too."
        if not isinstance(make(**settings), Trained): return make(**settings).fit(rung.final.train)
        return self.fit(key, name, make(**settings, seed=seed), rung.choose).fit_partial(rung.choose.valid, epochs=MORE)

    def rung(self, key: str, seeds: int) -> None:
        "Choose, fit and judge the models of a rung, then the blends."
        rung, models, blends = RUNGS[key]()
        entry = {'models': {}, 'title': rung.title, 'protocol': rung.protocol, 'source': rung.source, 'metrics': list(rung.metrics),
                  'published': rung.published, 'data': repr(rung.final.train), 'test': len(rung.final.test)}
        chosen = {name: self.choose(key, rung, name, *models[name], entry) for name in models}
        for name, parts in blends.items():
            tried = Weighted({p: chosen[p] for p in parts}, valid=rung.choose.valid, max_users=3000).fit(rung.choose.train)
            shares = {part: round(float(w), 4) for part, w in tried.shares.items()}
            told = Weighted(tried.parts, weights=shares).fit(rung.choose.train)            # weights that were told, not learned: it may be asked
            entry['models'][name] = {'weights': shares, 'valid': means({name: told}, rung, 'valid')[0][name]}
            print(key, name, entry['models'][name], flush=True)
        runs, fixed = [], {}
        for seed in range(seeds):
            final = {name: fixed.get(name) or self.final(key, name, rung, models[name][0], entry['models'][name]['settings'], seed) for name in models}
            fixed = {name: model for name, model in final.items() if not isinstance(model, Trained)}
            final |= {name: Weighted({p: final[p] for p in parts}, weights=entry['models'][name]['weights']).fit(rung.final.train)
                      for name, parts in blends.items()}
            runs.append(means(final, rung, 'test')[1])
            self.note(key, rung, entry, runs, [*models], [*blends])

    def note(self, key: str, rung: Rung, entry: dict, runs: list, models: list, blends: list) -> None:
        "The test part: means over users and seeds, each seed's, and the blends against the best model."
        values = np.mean([report.values for report in runs], axis=0)                       # (n_models, n_users, n_metrics)
        for i, name in enumerate(runs[0].models):
            entry['models'][name]['test'] = {m: round(float(v), 6) for m, v in zip(rung.metrics, values[i].mean(axis=0))}
            entry['models'][name]['by seed'] = [round(float(report.values[i, :, 0].mean()), 6) for report in runs]
            print(key, len(runs), name, entry['models'][name]['test'], flush=True)
        best = max(models, key=lambda name: entry['models'][name]['valid'][rung.metrics[0]])
        tables = {name: pd.DataFrame(values[i], columns=list(rung.metrics)) for i, name in enumerate(runs[0].models)}
        report = make_report(tables, runs[0].users)
        entry |= {'seeds': len(runs), 'against': [vars(report.compare(name, best, metric)) for name in blends for metric in rung.metrics]}
        self.results['rungs'][key] = entry
        self.write(key)

    def choose(self, key: str, rung: Rung, name: str, make: Callable, trials: list[dict], entry: dict) -> Recommender:
        "The model with the best settings, fitted on the part that chooses."
        mine, best = {'trials': []}, None
        entry['models'][name] = mine
        for settings in trials:
            model = self.fit(key, name, make(**settings), rung.choose)
            value = means({name: model}, rung, 'valid')[0][name]
            mine['trials'].append({'settings': settings, 'valid': value, 'fit_seconds': round(model.fit_seconds, 1)})
            if best is None or value[rung.metrics[0]] > mine['valid'][rung.metrics[0]]: best, mine['valid'], mine['settings'] = model, value, settings
            print(key, name, mine['trials'][-1], flush=True)
        return best


def means(models: dict[str, Recommender], rung: Rung, on: str) -> tuple[dict, Report]:
    "Name -> metric -> mean over the users of the part; and the report."
    split, rivals = (rung.final, rung.candidates) if on == 'test' else (rung.choose, rung.rivals)
    report = evaluate(models, split, list(rung.metrics), on=on, candidates=rivals)
    found = report.values.mean(axis=1)
    return {name: {m: round(float(v), 6) for m, v in zip(rung.metrics, found[i])} for i, name in enumerate(models)}, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'sequences.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=list(RUNGS), choices=list(RUNGS), help='some of the rungs')
    parser.add_argument('--seeds', type=int, default=5, help='of the networks')
    args = parser.parse_args()
    bench = Bench(args.out)
    for key in args.only: bench.rung(key, args.seeds)


if __name__ == '__main__': main()
