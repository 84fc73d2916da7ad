"""Speed of grouping: recbook, and the libraries that people use for it, in turns and in one run.

    kmeans      100,000 texts' vectors (384 dimensions) into 50 groups, against scikit-learn and Faiss
    ward        Ward's tree of 10,000 vectors, against scikit-learn and fastcluster
    hdbscan     scikit-learn's HDBSCAN on 10,000 vectors: its two ways to find neighbours
    segments    100,000 users x 50,000 items grouped by their cosine matrix, which is never formed, in a process of its own
                whose memory is measured; and against the formed matrix where that still fits
    points      interest points of 100,000 users x 20 vectors, against one user at a time
    members     1,000,000 vectors on the nodes of a tree of three layers

Vectors are those of the sentence encoder for the items of a planted world. All use all cores. Each round runs every
competitor once, and the median counts. A library that is not installed is skipped, which the results say.

    pip install faiss-cpu fastcluster
    python benchmarks/groups.py                  # all of it: some ten minutes on two cores
    python benchmarks/groups.py --only kmeans    # one part; the others stay as they are in the file
"""
import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
from common import commit, machine, versions

from recbook.centers import kmeans
from recbook.core import as_rng, cache_dir, unit_rows, write_aside
from recbook.groups import ward
from recbook.interests import interest_points
from recbook.layers import Interests
from recbook.segments import cosine_coordinates, user_segments
from recbook.tastes import find_tastes
from recbook.trees import default_sizes

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
SKIPPED = []


def texts_vectors(n: int) -> np.ndarray:
    "Unit vectors (n, 384) of items of a planted world, encoded once and kept."
    file = cache_dir('bench') / f'groups-{n}.npy'
    if not file.exists():
        from recbook.encode import Encoder
        from recbook.text import item_texts
        from recbook.world import World
        world = World.make(n_users=200, n_items=n, n_events=2000)
        with write_aside(file) as aside: np.save(open(aside, 'wb'), Encoder('minilm').encode(item_texts(world.dataset)))
    return np.load(file)


def peer(name: str):
    "The module of another library, or None."
    try:
        with warnings.catch_warnings(action='ignore'): return importlib.import_module(name)
    except ImportError:
        SKIPPED.append(name)
        print(f'SKIPPED {name}: not installed', flush=True)


def race(runs: dict, rounds: int) -> dict:
    "Median seconds and the last result of each run, everybody once a round; the first round of a quick run only warms up."
    seconds, results = {name: [] for name in runs}, {}
    for turn in range(rounds + (rounds > 1)):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run(turn)
            if turn or rounds == 1: seconds[name].append(time.perf_counter() - start)
    found = {name: {'median': float(np.median(s)), 'least': min(s), 'runs': len(s)} for name, s in seconds.items()}
    for name, s in found.items(): print(f'  {name}: {s["median"]:.3f} s (least {s["least"]:.3f})', flush=True)
    return found, results


def ratios(seconds: dict, mine: str = 'recbook') -> dict:
    "How many times as long the others take."
    return {name: round(s['median'] / seconds[mine]['median'], 2) for name, s in seconds.items() if name != mine}


def inertia(x: np.ndarray, centers: np.ndarray) -> float:
    "Sum of squared distances to the nearest center."
    parts = (x[i:i + 8192] for i in range(0, len(x), 8192))
    offset = (centers ** 2).sum(1)
    return float(sum(np.maximum((p ** 2).sum(1) + (offset - 2 * p @ centers.T).min(1), 0).sum(dtype=float) for p in parts))


def run_kmeans() -> dict:
    from sklearn.cluster import KMeans
    x, k, faiss = texts_vectors(100_000), 50, peer('faiss')
    def peer_run(**settings): return lambda seed: KMeans(k, n_init=1, random_state=seed, **settings).fit(x).inertia_
    runs = {'recbook': lambda seed: kmeans(x, k, seed).inertia,
            'recbook, quick': lambda seed: kmeans(x, k, seed, sample=64, polish=1).inertia,
            'scikit-learn, random start, 25 rounds': peer_run(init='random', max_iter=25),
            'scikit-learn, k-means++': peer_run()}
    def faiss_run(**settings):                            # gives centers, and no label to any vector
        def run(seed):
            model = faiss.Kmeans(x.shape[1], k, seed=seed, **settings)
            model.train(x)
            return model.centroids
        return run
    if faiss: runs |= {'faiss': faiss_run(),              # 25 rounds on 256 vectors for each center
                       'faiss, quick': faiss_run(niter=10, max_points_per_centroid=128),
                       'faiss, best of 5 starts': faiss_run(nredo=5)}   # its k-means++ ends where its random start does
    ends = {name: [] for name in runs}
    def kept(name): return lambda seed: ends[name].append(runs[name](seed))
    seconds, _ = race({name: kept(name) for name in runs}, 5)
    def height(end) -> float: return inertia(x, end) if isinstance(end, np.ndarray) else end      # not in anybody's time
    means = {name: float(np.mean([height(end) for end in values[1:]])) for name, values in ends.items()}
    ours = kmeans(x, k, 0)
    from_ours = KMeans(k, init=ours.centers, n_init=1, max_iter=300, tol=0).fit(x).inertia_
    whole = [peer_run(init='random', max_iter=300, tol=0)(seed) for seed in range(3)]
    print({name: round(v, 1) for name, v in means.items()}, 'converged from ours', from_ours, 'from random', np.mean(whole))
    return {'seconds': seconds, 'ratios': ratios(seconds), 'inertia': means, 'above_own_converged': ours.inertia / from_ours - 1,
            'above_converged_random_start': means['recbook'] / float(np.mean(whole)) - 1}


def run_ward() -> dict:
    from sklearn.cluster import AgglomerativeClustering
    x, fast = texts_vectors(100_000)[:10_000], peer('fastcluster')
    runs = {'recbook': lambda turn: ward(x), 'scikit-learn': lambda turn: AgglomerativeClustering(
        50, linkage='ward', compute_full_tree=True, compute_distances=True).fit(x).distances_}
    if fast: runs['fastcluster, vectors'] = lambda turn: fast.linkage_vector(x, 'ward')
    seconds, found = race(runs, 2)
    gap = np.abs(np.sqrt(2 * found['recbook'][:, 2]) - np.sort(found['scikit-learn'])).max()
    print('  largest difference of heights:', gap)
    return {'seconds': seconds, 'ratios': ratios(seconds), 'largest_difference': float(gap)}


def run_hdbscan() -> dict:
    from sklearn.cluster import HDBSCAN
    x = texts_vectors(100_000)[:10_000]
    seconds, _ = race({way: lambda turn, way=way: HDBSCAN(min_cluster_size=10, algorithm=way, copy=True).fit(x) for way in ('brute', 'auto')}, 1)
    return {'seconds': seconds, 'ratios': ratios(seconds, 'brute')}


def users_items(n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    "Users as sums of five items of a few neighbouring texts, and items."
    x, rng = texts_vectors(100_000), as_rng(0)
    items = x[:n_items]
    picks = rng.integers(0, 200, (n_users, 5)) + rng.integers(0, n_items - 200, n_users)[:, None]
    users = np.zeros((n_users, x.shape[1]), np.float32)
    for c in range(5): users += items[picks[:, c]]
    return unit_rows(users), items


def segments_alone() -> None:
    "In a process of its own: the large case, and the memory that it took beyond the vectors."
    users, items = users_items(100_000, 50_000)
    kmeans(users[:1000], 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    user_segments(users, items, 20, starts=1)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({'seconds': seconds, 'peak_gb': peak / 2 ** 20, 'gb_before': before / 2 ** 20}))


def run_segments() -> dict:
    from sklearn.cluster import KMeans
    out = subprocess.run([sys.executable, __file__, '--only', 'alone'], capture_output=True, text=True, check=True).stdout
    large = json.loads(out.strip().splitlines()[-1])
    print('  100,000 x 50,000:', large, flush=True)
    users, items = users_items(50_000, 30_000)                      # the matrix has 6 GB
    kmeans(users[:1000], 3)
    first = as_rng(0).choice(len(users), 20, replace=False)         # the same rows to start from, on both tables
    def lloyd(rows): return KMeans(20, init=rows[first], n_init=1, max_iter=25, copy_x=False).fit(rows).labels_.copy()
    runs = {'recbook': lambda turn: user_segments(users, items, 20, turn, starts=1),
            'scikit-learn on our coordinates': lambda turn: lloyd(cosine_coordinates(users, items)),
            'scikit-learn on the formed matrix': lambda turn: lloyd(users @ items.T)}
    seconds, found = race(runs, 1)
    same = float((found['scikit-learn on our coordinates'] == found['scikit-learn on the formed matrix']).mean())
    few, some = users[:20_000], items[:10_000]                      # in double precision the matrix has 1.6 GB
    first = as_rng(0).choice(len(few), 20, replace=False)
    exact = float((lloyd(cosine_coordinates(few, some)) == lloyd(few.astype(float) @ some.astype(float).T)).mean())
    print(f'  same assignments: {same:.6f}; against the formed matrix in double precision: {exact:.6f}')
    return {'large': large, 'size': [len(users), len(items)], 'seconds': seconds, 'ratios': ratios(seconds), 'same_assignments': same,
            'same_assignments_double': exact, 'size_double': [len(few), len(some)]}


def run_points() -> dict:
    x, rng = texts_vectors(100_000), as_rng(0)
    users, items = 100_000, rng.integers(0, len(x), (100_000, 20))
    from scipy.sparse import csr_matrix
    chosen = csr_matrix((np.ones(items.size, np.float32), (np.repeat(np.arange(users), 20), items.ravel())), shape=(users, len(x)))
    few = chosen[:300]
    def one_by_one(turn): return [interest_points(x[few.indices[few.indptr[u]:few.indptr[u + 1]]]) for u in range(few.shape[0])]
    seconds, found = race({'recbook': lambda turn: find_tastes(chosen, x), 'one at a time (300 users)': one_by_one}, 1)
    ones, all_ = found['one at a time (300 users)'], found['recbook']
    same = np.mean([len(p) == (all_.user == u).sum() for u, p in enumerate(ones)])
    per_user = seconds['one at a time (300 users)']['median'] / 300
    return {'seconds': seconds, 'times_faster': round(per_user * users / seconds['recbook']['median'], 1), 'same_number_of_points': float(same)}


def run_members() -> dict:
    x = texts_vectors(100_000)
    found = {}
    for sizes in ((12, 60, 300), default_sizes(1_000_000)):
        tree = Interests(sizes).fit(x[:20_000], ['text'] * 20_000)
        million = np.concatenate([x] * 10)
        start = time.perf_counter()
        layers = tree.assign(million)
        found[' > '.join(str(len(c)) for c in tree.centroids)] = {'seconds': time.perf_counter() - start, 'rows': layers[0].shape[0]}
    print(' ', found)
    return found


PARTS = {'kmeans': run_kmeans, 'ward': run_ward, 'hdbscan': run_hdbscan, 'segments': run_segments, 'points': run_points, 'members': run_members}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'groups.json', help='where the results go')
    parser.add_argument('--only', choices=[*PARTS, 'alone'], help='one part')
    args = parser.parse_args()
    if args.only == 'alone': return segments_alone()
    results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
    for name in [args.only] if args.only else PARTS:
        print(f'== {name}', flush=True)
        SKIPPED.clear()
        results[name] = PARTS[name]() | {'date': str(date.today()), 'commit': commit(), 'machine': machine(CORES),
                                         'skipped': sorted(SKIPPED), 'versions': versions('faiss-cpu', 'fastcluster')}
        with write_aside(args.out) as aside: aside.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
