"""Users of whom only a text is known: lists from it, beside popularity and shuffled texts.

    world      five planted worlds, a tenth of the users cold; one comment each, and the lists are judged by what else they took
    llama      MovieLens 1M: profiles that Llama 3 wrote from each user's training rows; a tenth of the users are cold, of whom the
               profile alone is known; judged by the liked films of the given test rows, in which the profiles had no part;
               last, the profiles are read closely: words that tell most, tags in the order of their mention, films named

Settings are chosen on another tenth of the users. Results go to a JSON file.

    python benchmarks/newcomers.py                 # seven minutes on one core
    python benchmarks/newcomers.py --only world    # one task
"""
import argparse
import json
import os
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
import pandas as pd
from common import commit, machine, versions
from scipy.linalg import solve
from scipy.sparse import csr_matrix, diags_array, hstack

from recbook.baselines import Popular, list_value
from recbook.bridge import ridge, side_by_side
from recbook.cf import EASE
from recbook.content import as_history
from recbook.chance import bootstrap
from recbook.core import as_rng, unit_rows, write_aside
from recbook.data import Dataset
from recbook.encode import Encoder
from recbook.factors import IALS
from recbook.fusion import Fusion
from recbook.scores import standard
from recbook.sources import load, locate
from recbook.text import item_texts
from recbook.world import World

HERE = Path(__file__).parent
REGS = (.3, 1., 3., 10., 30.)
PRICES = (1., 2., 4., 8., 32., 128.)
MEANING = 'MiniLM'
PLAIN = 'bridge: MiniLM and words'
ASPECTS = ('genre', 'plot', 'score', 'mood', 'setting', 'visual', 'writing', 'runtime', 'theme')     # the order in which they are looked for


def words(texts: list[str], learn: np.ndarray, dim: int = 384) -> np.ndarray:
    "TF-IDF of words and pairs of words, and their largest components; words and components from the rows `learn`."
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    table = TfidfVectorizer(min_df=10, sublinear_tf=True, ngram_range=(1, 2), max_features=6000).fit([texts[i] for i in learn]).transform(texts)
    return TruncatedSVD(min(dim, table.shape[1] - 1), random_state=0).fit(table[learn]).transform(table).astype(np.float32)


def compete(train: Dataset, vectors: dict, texts: np.ndarray, wanted: csr_matrix, known: csr_matrix, part: np.ndarray, ials: dict, seed: int) -> dict:
    "NDCG@10 of each cold user (part 2), by way; settings by the users of part 1."
    valid, test = np.flatnonzero(part == 1), np.flatnonzero(part == 2)
    value = lambda scores, who: list_value(scores, wanted[who], known[who])
    best = lambda tries: max(tries, key=lambda t: np.nanmean(value(t(valid), valid)))
    popular = Popular().fit(train)
    users, items = IALS(**ials).fit(train).factors()
    learn = np.flatnonzero(np.diff(train.matrix().indptr))
    found = {'popular': value(popular.scores(test), test)}
    for name, v in vectors.items():
        for label, given in ((name, v), (f'{name}, shuffled', as_rng(seed).permutation(v))):
            tries = [bridge(given, users, items, learn, reg) for reg in REGS]
            found[f'bridge: {label}'] = value(best(tries)(test), test)
    v, near = vectors[MEANING], EASE(200.).fit(train)
    for label, given in (('', v), (', shuffled', as_rng(seed).permutation(v))):
        by_map = max((bridge(list(vectors.values())[-1] if not label else given, users, items, learn, reg) for reg in REGS),
                     key=lambda t: np.nanmean(value(t(valid), valid)))
        tries = [both((1., by_map), (a, nearby(given, texts, near, k)), (b, lambda who: given[who] @ texts.T))
                 for k in (3, 10, 30) for a in (0., .5, 1., 2.) for b in (0., .5, 1.)]
        found[f'bridge, nearest items through EASE, cosine{label}'] = value(best(tries)(test), test)
    starts = [{'start': start, 'strength': 3., 'epochs': e} for start in ('patterns', 'ials') for e in (1, 4)]
    starts += [{'user_reg': r, 'epochs': e} for r in (.01, .03, .1) for e in (8, 16)]
    common = {'dim': 64, 'user_vectors': list(vectors.values())[-1], 'id_dropout': .3, 'batch': 1024 if len(learn) > 2000 else 256, 'seed': seed}
    tries = [Fusion(**common, **more).fit(train).scores for more in starts]
    found[f'Fusion: {list(vectors)[-1]}'] = value(best(tries)(test), test)
    return found


def mentions(texts: list[str], terms: list[str]) -> np.ndarray:
    "For each term 1 over its place in the order of first mentions, and how often it is said; (n, 2 terms)."
    out = np.zeros((len(texts), 2, len(terms)), np.float32)
    for row, text in zip(out, map(str.lower, texts)):
        first = sorted((text.find(term), j) for j, term in enumerate(terms) if term in text)
        for rank, (_, j) in enumerate(first): row[:, j] = 1 / (1 + rank), np.log1p(text.count(terms[j]))
    return out.reshape(len(texts), -1)


def stems(tags: pd.Series) -> list[str]:
    "Beginnings of the words in tags such as Children's|Sci-Fi, by which a text may name them."
    return sorted({re.sub("'s$", '', word)[:6].lower() for tag in set('|'.join(tags).split('|')) for word in tag.split('-') if len(word) > 2})


def plain(title: str) -> str:
    "A title without year, case and marks; 'Matrix, The (1999)' becomes 'the matrix'."
    title = re.sub(r'^(.*), (The|A|An)$', r'\2 \1', re.sub(r'\s*\([^)]*\)', '', title))
    return ' '.join(re.findall('[a-z0-9]+', title.lower().replace('&', 'and').replace("'", '')))


def named(texts: list[str], titles: list[str]) -> csr_matrix:
    "The items whose titles stand in quotation marks; (n_texts, n_items)."
    place = {plain(title): i for i, title in enumerate(titles)}
    pairs = {(u, place[plain(said)]) for u, text in enumerate(texts) for said in re.findall(r'"([^"]{2,80})"', text) if plain(said) in place}
    return csr_matrix((np.ones(len(pairs), np.float32), tuple(np.array(sorted(pairs)).T)), shape=(len(texts), len(titles)))


def told_of(texts: list[str]) -> list[str]:
    "Each word with what its sentence is about: 'mood_dark'."
    about = lambda low: next((a for a in ASPECTS if a in low), 'other')
    return [' '.join(f'{about(low)}_{w}' for low in re.split(r'(?<=[.!?])\s+', text.lower()) for w in re.findall('[a-z]{3,}', low)) for text in texts]


def telling(table: csr_matrix, target: np.ndarray, learn: np.ndarray) -> csr_matrix:
    "The columns, each scaled by how much it says of the target (rows `learn`): by the root of F - 1, where chance alone gives F = 1."
    known, y = table[learn], target - target.mean(axis=0)
    spread = np.maximum(np.asarray(known.multiply(known).mean(axis=0)).ravel() - np.asarray(known.mean(axis=0)).ravel() ** 2, 1e-12)
    strength = ((known.T @ y) ** 2).sum(axis=1) / spread / (y ** 2).sum()
    return (table @ diags_array(np.sqrt(np.maximum(strength - 1, 0) / spread))).tocsr()


def likeness(table: np.ndarray | csr_matrix, learn: np.ndarray) -> np.ndarray:
    "Inner products of all rows with those of `learn`, around the mean of these, in units of their mean squared length."
    k = table @ table[learn].T
    k = k.toarray() if hasattr(k, 'toarray') else k
    k = k - k[learn].mean(axis=0) - k.mean(axis=1, keepdims=True) + k[learn].mean()
    return k / np.trace(k[learn]) * len(learn)


def closely(train: Dataset, texts: list[str], meaning: np.ndarray, ials: dict) -> Callable:
    "For a price of large weights, scores by factors guessed from the telling words, the order of tags, the named films and MiniLM."
    from sklearn.feature_extraction.text import TfidfVectorizer
    learn = np.flatnonzero(np.diff(train.matrix().indptr))
    users, items = IALS(**ials).fit(train).factors()
    target = users[learn] / np.linalg.norm(users[learn], axis=1, keepdims=True) ** .75
    weigh = lambda docs, most: TfidfVectorizer(min_df=5, sublinear_tf=True, ngram_range=(1, most)).fit([docs[i] for i in learn]).transform(docs)
    order = mentions(texts, stems(train.items['tags']))
    first, second = np.triu_indices(order.shape[1] // 2)
    pairs = order[:, first] * order[:, second]
    pairs = pairs[:, (pairs[learn] > 0).sum(axis=0) >= 20]
    table = hstack([weigh(texts, 2), weigh(told_of(texts), 1), csr_matrix(order), csr_matrix(pairs)]).tocsr()
    films = unit_rows(named(texts, train.items['title'].tolist()) @ items)
    alike = likeness(telling(table, target, learn), learn) + .3 * likeness(meaning, learn) + .5 * likeness(films, learn)

    def guess(reg: float) -> Callable:
        mean = target.mean(axis=0)
        found = alike @ solve(alike[learn] + reg * np.eye(len(learn)), target - mean, assume_a='pos') + mean
        return lambda who: found[who] @ items.T
    return guess


def bridge(v: np.ndarray, users: np.ndarray, items: np.ndarray, learn: np.ndarray, reg: float) -> Callable:
    "Scores by factors that a linear map guesses from the texts."
    to = ridge(v[learn], users[learn], reg)
    return lambda who: to(v[who]) @ items.T


def nearby(v: np.ndarray, items: np.ndarray, near: EASE, k: int) -> Callable:
    "Scores by EASE as if the user had had the k items whose texts are nearest."
    return lambda who: near.fold_in(as_history(v[who], items, k))


def both(*ways: tuple) -> Callable:
    "The weighted sum of standardised scores; ways are pairs of a weight and a function."
    return lambda who: sum(weight * standard(way(who)) for weight, way in ways)


def parts(n: int, seed: int) -> np.ndarray:
    "2 for a tenth of the users (test), 1 for another tenth (validation), 0 for the others."
    rank = as_rng(seed).permutation(n)
    return np.select([rank < n // 10, rank < 2 * (n // 10)], [2, 1], 0)


def world(seed: int) -> dict:
    "A planted world: the first comment of each user is what is known."
    data = World.make(seed=seed).dataset
    e, part = data.events, parts(data.n_users, seed)
    first = e[e['kind'] == 'review'].drop_duplicates('user').set_index('user')
    vectors = np.zeros((data.n_users, 384), np.float32)
    vectors[first.index] = Encoder('minilm').encode(first['text'].tolist())
    part[~np.isin(np.arange(data.n_users), first.index)] = 0
    known = csr_matrix((np.ones(len(first)), (first.index, first['item'])), shape=(data.n_users, data.n_items))
    wanted = data.matrix()
    wanted = (wanted - wanted.multiply(known)).tocsr()
    wanted.eliminate_zeros()
    train = data.where(part[e['user'].to_numpy()] == 0)
    return compete(train, {MEANING: vectors}, Encoder('minilm').encode(item_texts(data)), wanted, known, part, {'dim': 32, 'reg': 3.}, seed)


def profiles(seed: int) -> tuple:
    "MovieLens 1M with the profiles: the data, those of its events that the profiles know, wanted and known items, the parts, the profiles."
    data, folder = load('ml-1m'), locate('ml-1m').parent
    user, item = ({i: c for c, i in enumerate(table['id'].astype(int))} for table in (data.users, data.items))
    told = pd.read_parquet(folder/'users_llm_profile_llama3.parquet').set_index('user_id')['llm_profile']
    rows = pd.read_parquet(folder/'llama3_profile_testsplit.parquet')
    codes = rows['user_id'].map(user).to_numpy() * data.n_items + rows['movie_id'].map(item).to_numpy()
    e = data.events
    given = ~np.isin(e['user'].to_numpy().astype(np.int64) * data.n_items + e['item'].to_numpy(), codes)
    liked = codes[rows['liked'].to_numpy() == 1]
    wanted = csr_matrix((np.ones(len(liked)), np.divmod(liked, data.n_items)), shape=(data.n_users, data.n_items))
    return data, given, wanted, data.where(given).matrix(), parts(data.n_users, seed), [told.get(int(i), '') for i in data.users['id']]


def llama(seed: int) -> dict:
    "MovieLens 1M: the profile is what is known."
    told, folder = profiles(seed), locate('ml-1m').parent
    data, given, wanted, known, part, texts = told
    e = data.events
    train = data.where(given & (e['value'].to_numpy() >= 4) & (part[e['user'].to_numpy()] == 0))
    meaning, said = Encoder('minilm').encode(texts), words(texts, np.flatnonzero(part == 0))
    plots = pd.read_parquet(folder/'items_plot.parquet').set_index('movie_id')['plot'].fillna('').astype(str)
    texts_of_items = item_texts(replace(data, items=data.items.assign(text=[plots.get(i, '') for i in data.items['id']])))
    vectors = {MEANING: meaning, 'words': said, 'MiniLM and words': np.asarray(side_by_side(meaning, said))}
    found = compete(train, vectors, Encoder('minilm').encode(texts_of_items), wanted, known, part, {'dim': 32, 'reg': 20.}, seed)
    return found | closer(told, meaning, seed)


def closer(told: tuple, meaning: np.ndarray, seed: int) -> dict:
    "Profiles read closely; the price by part 1, and then learned again with the users of part 1."
    data, given, wanted, known, part, texts = told
    user, liked = data.events['user'].to_numpy(), data.events['value'].to_numpy() >= 4
    valid, test = np.flatnonzero(part == 1), np.flatnonzero(part == 2)
    value = lambda scores, who: list_value(scores, wanted[who], known[who])
    train, more = (data.where(given & liked & (part[user] <= last)) for last in (0, 1))
    order, found = as_rng(seed).permutation(len(texts)), {}
    for label, rows in (('', np.arange(len(texts))), (', shuffled', order)):
        given_texts, given_meaning = [texts[i] for i in rows], meaning[rows]
        guess = closely(train, given_texts, given_meaning, {'dim': 32, 'reg': 20.})
        by_price = {price: np.nanmean(value(guess(price)(valid), valid)) for price in PRICES}
        best = max(by_price, key=by_price.get)
        print(seed, label, {price: round(float(v), 4) for price, v in by_price.items()}, flush=True)
        found[f'read closely{label}'] = value(guess(best)(test), test)
        again = closely(more, given_texts, given_meaning, {'dim': 32, 'reg': 20.})
        found[f'read closely, learned again with part 1{label}'] = value(again(best)(test), test)
    return found


def gain(runs: list[dict], name: str, rival: str) -> list[float]:
    "The 95% interval of the difference between two ways, paired by user."
    apart = np.concatenate([r[name] - r[rival] for r in runs])
    return [round(float(end), 4) for end in np.ravel(bootstrap(apart[~np.isnan(apart)]))[-2:]]


TASKS = {'world': (world, range(5)), 'llama': (llama, range(3))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'newcomers.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=list(TASKS), choices=list(TASKS), help='one of the tasks')
    args = parser.parse_args()
    results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
    for task in args.only:
        make, seeds = TASKS[task]
        runs, rows = [make(seed) for seed in seeds], {}
        for name in runs[0]:
            mean = float(np.mean([np.nanmean(r[name]) for r in runs]))
            rows[name] = {'ndcg@10': round(mean, 4), 'times popular': round(mean / float(np.mean([np.nanmean(r['popular']) for r in runs])), 3),
                          'gain': gain(runs, name, 'popular')} | ({'over the bridge': gain(runs, name, PLAIN)} if PLAIN in runs[0] else {})
            print(task, name, rows[name], flush=True)
        results |= {task: {'seeds': len(runs), 'rows': rows}, 'date': str(date.today()), 'machine': machine(), 'versions': versions(), 'commit': commit()}
        with write_aside(args.out) as aside: aside.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
