"""Speed: ranking and measuring with recbook, and with the libraries that people use for it, in turns and in one run.

    evaluate    all users of MovieLens 1M: score, leave out what they saw, best 10, recall, NDCG and MAP for each user
    top100      the best 100 of 100,000 items for 6,040 users, 64 dimensions, seen items left out
    large       the same for 200,000 users, in a process of its own whose memory is measured
    bootstrap   1,000 resamples of 6,040 users, 10 metrics and 10 models

All see the same factors and use all cores. Each round runs every competitor once, and the median counts. Other libraries
are asked only for what they do: ranx gets our lists (and once more its qrels stand ready), RecBole gets the scores (and
once more the whole task), LightFM measures recall alone, Faiss fetches as many more items as the busiest user has seen,
and the test of what was seen is prepared for it. ranx divides the average precision by all relevant items, the others by
at most ten. A library that is not installed is skipped, which the results say. Results go to a JSON file.

    pip install ranx faiss-cpu implicit rectools-lightfm tensorboard psutil texttable colorlog colorama tabulate
    pip install --no-deps recbole
    python benchmarks/speed.py                   # all of it: two to four minutes on two cores
    python benchmarks/speed.py --only top100     # one task; the others stay as they are in the file
"""
import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch
from common import commit, machine, versions
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recbook.core import cache_dir, write_aside
from recbook.data import random_split
from recbook.products import top_products
from recbook.metrics import measure
from recbook.sources import load

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
METRICS = ('recall@10', 'ndcg@10', 'map@10')
PEERS = {'lightfm': 'pip install rectools-lightfm', 'ranx': 'pip install ranx', 'implicit.cpu.topk': 'pip install implicit',
         'faiss': 'pip install faiss-cpu', 'recbole.evaluator':
         'pip install --no-deps recbole; pip install tensorboard psutil texttable colorlog colorama tabulate'}
SKIPPED = {}


def peer(name: str):
    "The module of another library, or None and a line that says how to get it."
    try:
        with warnings.catch_warnings(action='ignore'): return importlib.import_module(name)
    except ImportError as error:
        SKIPPED[name] = PEERS[name]
        print(f'SKIPPED {name} ({error}): {PEERS[name]}', flush=True)


def race(runs: dict, rounds: int) -> dict:
    "Seconds of each run, everybody once a round; the first round only warms up."
    seconds = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn: seconds[name].append(time.perf_counter() - start)
    found = {name: {'median': float(np.median(s)), 'least': min(s), 'runs': len(s)} for name, s in seconds.items()}
    for name, s in found.items(): print(f'  {name}: {s["median"]:.4f} s (least {s["least"]:.4f})', flush=True)
    return found


def marks(seconds: dict, wanted: dict) -> dict:
    "How many times as long the others take, and whether it is as many times as was aimed at."
    mine, found = seconds['recbook']['median'], {}
    for name, (least, goal) in wanted.items():
        if name not in seconds: continue
        ratio = seconds[name]['median'] / mine
        found[name] = {'times_recbook': round(ratio, 2), 'aim': least, 'goal': goal, 'reached': ratio >= least}
        verdict = 'reached' if ratio >= least else 'MISSED'
        print(f'  {name}: {ratio:.2f} times as long; aim {least}, goal {goal}: {verdict}', flush=True)
    return found


LIGHTFM = [f'{side}_{part}' for side in ('item', 'user') for part in ('embeddings', 'embedding_gradients', 'embedding_momentum',
                                                                    'biases', 'bias_gradients', 'bias_momentum')]


def factors(split) -> dict:
    "LightFM's vectors and biases for the training part, learned once and kept."
    file = cache_dir('bench') / 'speed-lightfm-64.npz'
    if not file.exists():
        from lightfm import LightFM
        model = LightFM(no_components=64, loss='warp', learning_rate=.05, random_state=0)
        model.fit(split.train.matrix().tocoo(), epochs=15, num_threads=CORES)
        with write_aside(file) as aside: np.savez(open(aside, 'wb'), **{name: getattr(model, name) for name in LIGHTFM})
    with np.load(file) as kept: return dict(kept)


def for_lightfm(has: dict, wanted: csr_matrix, seen: csr_matrix):
    "Recall at 10 alone, by LightFM's own function."
    if not peer('lightfm'): return None
    from lightfm import LightFM
    from lightfm.evaluation import recall_at_k
    model = LightFM(no_components=64)
    for name, value in has.items(): setattr(model, name, value)
    wanted, seen = wanted.astype(np.float32), seen.astype(np.float32)
    return lambda: recall_at_k(model, wanted, train_interactions=seen, k=10, num_threads=CORES, check_intersections=False)


def for_ranx(items: np.ndarray, best: np.ndarray, wanted: csr_matrix) -> tuple:
    "Three metrics of our lists: building what is relevant and the run, or the run alone."
    ranx = peer('ranx')
    if not ranx: return None, None
    users = [str(u) for u in range(len(items))]
    name = np.array([str(i) for i in range(wanted.shape[1])], object)
    def relevant():
        return ranx.Qrels({u: dict.fromkeys(name[wanted.indices[a:b]].tolist(), 1)
                           for u, a, b in zip(users, wanted.indptr[:-1], wanted.indptr[1:])})
    def run(qrels=None):
        lists = ranx.Run({u: dict(zip(i, s)) for u, i, s in zip(users, name[items].tolist(), best.tolist())})
        return ranx.evaluate(qrels or relevant(), lists, list(METRICS), make_comparable=False)
    ready = relevant()
    return run, lambda: run(ready)


def pairs(table: csr_matrix) -> tuple:
    "Rows and columns of the entries, as torch wants them."
    return tuple(torch.from_numpy(x.astype(np.int64)) for x in table.nonzero())


class RecBole:
    "RecBole's collector and evaluator, 512 users a batch."
    def __init__(self, left: np.ndarray, right: np.ndarray, wanted: csr_matrix, seen: csr_matrix):
        from recbole.evaluator import Collector, Evaluator
        config = {'topk': [10], 'metrics': ['Recall', 'NDCG', 'MAP'], 'eval_args': {'mode': 'full'},
                  'device': torch.device('cpu'), 'metric_decimal_place': 12}
        vars(np).setdefault('float', float)                     # RecBole 1.2 still asks for it; NumPy 1.24 took it away
        self.collector, self.evaluator = Collector(config), Evaluator(config)
        self.left, self.right, self.parts = torch.from_numpy(left), torch.from_numpy(right), range(0, len(left), 512)
        self.wanted, self.seen = ([pairs(table[s:s + 512]) for s in self.parts] for table in (wanted, seen))
        self.scores = [self.batch(b) for b in range(len(self.parts))]

    def batch(self, b: int) -> torch.Tensor:
        "Scores of one batch, as RecBole's trainer makes them."
        s = self.parts[b]
        scores = self.left[s:s + 512] @ self.right.T
        scores[self.seen[b]] = -np.inf
        return scores

    def run(self, given: bool = True) -> dict:
        "All metrics; from scores that stand ready, or from the factors."
        for b in range(len(self.parts)):
            self.collector.eval_batch_collect(self.scores[b] if given else self.batch(b), None, *self.wanted[b])
        return self.evaluator.evaluate(self.collector.get_data_struct())

    def judge(self, items: np.ndarray, wanted: csr_matrix) -> dict:
        "RecBole's metrics of our lists."
        from recbole.evaluator.collector import DataStruct
        row = np.arange(len(items))[:, None]
        hit = np.where(items >= 0, wanted[row, np.maximum(items, 0)].toarray() > 0, False)
        lists = DataStruct()
        lists.set('rec.topk', torch.from_numpy(np.c_[hit, np.diff(wanted.indptr)].astype(np.int32)))
        return self.evaluator.evaluate(lists)


def evaluate(rounds: int) -> dict:
    "Task `evaluate`."
    split = random_split(load('ml-1m'), (.8, .1, .1), 0)
    has = factors(split)
    wanted = split.test.matrix()
    users = np.flatnonzero(np.diff(wanted.indptr))
    left = np.c_[has['user_embeddings'], has['user_biases'], np.ones(len(has['user_biases']))].astype(np.float32)[users]
    right = np.c_[has['item_embeddings'], np.ones(len(has['item_biases'])), has['item_biases']].astype(np.float32)
    lists = {name: has[name] for name in LIGHTFM}
    lists |= {name: value[users] for name, value in has.items() if name.startswith('user')}
    wanted, seen = wanted[users], split.seen[users]
    def recbook():
        items, best = top_products(left, right, 10, seen)
        return items, best, measure(items, wanted, METRICS)
    items, best, mine = recbook()
    runs = {'recbook': recbook, 'LightFM, recall alone': for_lightfm(lists, wanted, seen)}
    runs['ranx, given lists'], runs['ranx, given lists and qrels'] = for_ranx(items, best, wanted)
    values = {'recbook': dict(mine.mean())}
    if peer('recbole.evaluator'):
        recbole = RecBole(left, right, wanted, seen)
        runs |= {'RecBole, given scores': recbole.run, 'RecBole': lambda: recbole.run(False)}
        values |= {'RecBole': recbole.run(), 'RecBole on our lists': recbole.judge(items, wanted)}
        for name in METRICS:
            assert abs(values['RecBole on our lists'][name] - values['recbook'][name]) < 1e-6, f'{name} differs from RecBole'
    if runs['ranx, given lists']: values['ranx'] = {name: float(v) for name, v in runs['ranx, given lists']().items()}
    if runs['LightFM, recall alone']: values['LightFM'] = {'recall@10': float(np.mean(runs['LightFM, recall alone']()))}
    for name, row in values.items(): print(f'  {name}: ' + ', '.join(f'{k} {v:.6f}' for k, v in row.items()))
    seconds = race({name: run for name, run in runs.items() if run}, rounds)
    return {'what': f'{len(users):,} users of MovieLens 1M, {len(right):,} items, LightFM factors of 64 dimensions and biases; '
                    f'{split.spec}', 'seconds': seconds, 'values': values, 'marks': marks(seconds, {
                'LightFM, recall alone': (15, 15), 'ranx, given lists': (10, 10), 'RecBole, given scores': (2, 3)})}


def table(n: int, m: int, d: int = 64, n_seen: int = 0) -> tuple:
    "Random vectors of users and items, and what each user has seen."
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, d), dtype=np.float32) for size in (n, m))
    pairs = np.repeat(np.arange(n), n_seen), rng.integers(0, m, n * n_seen)
    return left, right, csr_matrix((np.ones(n * n_seen, np.float32), pairs), shape=(n, m))


def for_faiss(left: np.ndarray, right: np.ndarray, seen: csr_matrix, k: int):
    "A flat index, asked for as many more items as anybody has seen."
    faiss = peer('faiss')
    if not faiss: return None
    faiss.omp_set_num_threads(CORES)
    index = faiss.IndexFlatIP(right.shape[1])
    index.add(right)
    more = k + int(np.diff(seen.indptr).max())
    bits = np.packbits(seen.toarray() != 0, axis=1, bitorder='little')
    def run():
        scores, items = index.search(left, more)
        free = bits[np.arange(len(left))[:, None], items >> 3] >> (items & 7) & 1 == 0
        free &= free.cumsum(axis=1) <= k
        return items[free].reshape(-1, k), scores[free].reshape(-1, k)
    return run


def for_implicit(left: np.ndarray, right: np.ndarray, seen: csr_matrix, k: int):
    "The function behind implicit's recommend."
    topk = peer('implicit.cpu.topk')
    if not topk: return None
    def run():
        with threadpool_limits(1, 'blas'):                      # as implicit asks for: its own threads share the users
            return topk.topk(right, left, k, filter_query_items=seen, num_threads=CORES)
    return run


def for_torch(left: np.ndarray, right: np.ndarray, seen: csr_matrix, k: int):
    "The usual few lines in torch: product, mask, topk, in blocks of 512 users."
    a, b = torch.from_numpy(left), torch.from_numpy(right)
    masks = [pairs(seen[s:s + 512]) for s in range(0, len(left), 512)]
    def run():
        found = []
        for s, mask in zip(range(0, len(left), 512), masks):
            scores = a[s:s + 512] @ b.T
            scores[mask] = -np.inf
            found.append(scores.topk(k))
        return tuple(torch.cat([getattr(f, part) for f in found]).numpy() for part in ('indices', 'values'))
    return run


def top100(rounds: int) -> dict:
    "Task `top100`."
    k, (left, right, seen) = 100, table(6040, 100_000, n_seen=166)
    runs = {'recbook': lambda: top_products(left, right, k, seen), 'Faiss flat': for_faiss(left, right, seen, k),
            'implicit topk': for_implicit(left, right, seen, k), 'torch topk': for_torch(left, right, seen, k)}
    runs = {name: run for name, run in runs.items() if run}
    mine, same = runs['recbook'](), {}
    for name, run in runs.items():
        items, scores = run()
        assert np.abs(scores - mine[1]).max() < 1e-4, f'{name} finds other scores'
        same[name] = float((items == mine[0]).all(axis=1).mean())
        print(f'  {name}: {same[name]:.2%} of the lists are ours', flush=True)
    seconds = race(runs, rounds)
    return {'what': f'the best {k} of {len(right):,} random items for {len(left):,} users, 64 dimensions, '
                    f'{seen.nnz / len(left):.0f} items a user left out', 'seconds': seconds, 'same_lists': same,
            'marks': marks(seconds, {'Faiss flat': (1.5, 2.7), 'implicit topk': (2.5, 2.5)})}


def memory(which: str) -> int:
    "Bytes of memory that this process holds (VmRSS), or has held at most (VmHWM); 0 where the system does not tell."
    status = Path('/proc/self/status')
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def child() -> None:
    "The large task, with its memory above the vectors."
    left, right, _ = table(200_000, 100_000)
    top_products(left[:300], right[:1000], 10)                  # load everything
    before, start = memory('VmRSS'), time.perf_counter()
    items, _ = top_products(left, right, 100)
    seconds, above = time.perf_counter() - start, memory('VmHWM') - before
    print(json.dumps({'seconds': seconds, 'gigabytes': above / 1e9, 'lists': len(items)}))


def large(rounds: int) -> dict:
    "Task `large`."
    done = subprocess.run([sys.executable, __file__, '--child'], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f'  {found["seconds"]:.1f} s, {found["gigabytes"]:.2f} GB above the vectors')
    return {'what': 'the best 100 of 100,000 items for 200,000 users, 64 dimensions; memory includes the lists'} | found | {
        'marks': {'memory': {'gigabytes': found['gigabytes'], 'aim': 1.5, 'reached': 0 < found['gigabytes'] < 1.5}}}


def bootstrap(rounds: int) -> dict:
    "Task `bootstrap`."
    try: from recbook.chance import bootstrap as resample
    except ImportError: from recbook.evaluate import bootstrap as resample
    values = np.random.default_rng(0).random((6040, 100))
    seconds = race({'recbook': lambda: resample(values, n=1000)}, min(rounds, 3))
    median = seconds['recbook']['median']
    return {'what': '1,000 resamples of 6,040 users, 10 metrics and 10 models', 'seconds': seconds,
            'marks': {'bootstrap': {'seconds': median, 'aim': 2, 'reached': median < 2}}}


TASKS = {'evaluate': evaluate, 'top100': top100, 'large': large, 'bootstrap': bootstrap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'speed.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=list(TASKS), choices=TASKS, metavar='TASK', help=f'of: {", ".join(TASKS)}')
    parser.add_argument('--rounds', type=int, default=7, help='turns that count')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return child()
    torch.set_num_threads(CORES)
    results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
    for name in args.only:
        print(f'{name}:', flush=True)
        results[name] = TASKS[name](args.rounds) | {'date': str(date.today()), 'commit': commit()}
        results |= {'machine': machine(CORES), 'versions': versions('ranx', 'recbole', 'faiss-cpu', 'numba'), 'skipped': SKIPPED}
        with write_aside(args.out) as aside: aside.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
