"""Encoding: texts into vectors with MiniLM, by recbook and by the libraries that people use for it, in turns and in one run.

    ways     2,000 texts of 8 to 200 tokens: texts a second, and the lowest cosine with sentence-transformers' float32 vectors
    load     a fresh process until the first vector is there: imports, weights, one text
    cache    100,000 texts, all known: seconds until their vectors are there
    stream   1,000,000 short texts to a file: texts a second and the memory on top of what was there before

All use all cores. sentence-transformers runs with its default settings. OpenVINO gets the same sorted batches as we do, in
bfloat16 where the processor has it, in its latency and its throughput mode, and its best counts. Each round runs every
competitor once, and the median counts. A library that is not installed is skipped, which the results say. On a GPU
(`--device cuda`), tokens a second and the share of the card's bfloat16 peak are measured too, if `--peak` names it.
Results go to a JSON file.

    pip install sentence-transformers openvino
    python benchmarks/encode.py                  # all of it: about eight minutes on two cores
    python benchmarks/encode.py --only ways      # one task; the others stay as they are in the file
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import commit, machine, versions

from recbook.checkpoint import packaged, quiet
from recbook.core import check, unit_rows, write_aside
from recbook.embed import Transformer, batches, choose
from recbook.encode import Encoder

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
DATA = Path(os.environ.get('RECBOOK_DATA') or HERE.parent.parent/'shared'/'data')
SKIPPED = {}


def sample(n: int = 2000, low: int = 6, high: int = 198) -> list[str]:
    "Texts about films, cut so that their lengths are spread evenly from `low` + 2 to `high` + 2 tokens."
    path = DATA/'ml-1m'/'items_llm_text_colakg.parquet'
    check(path.is_file(), f'the texts {path.name} of ml-1m are not here; set RECBOOK_DATA to the folder of the data sets')
    texts = pd.read_parquet(path)['llm_text'].dropna().tolist()
    model = Transformer(packaged(), max_tokens=512)
    model.load()
    rng, out = np.random.default_rng(0), []
    for i in rng.permutation(len(texts)):
        ends = model.reader.encode(texts[i], add_special_tokens=False).offsets
        length = int(rng.integers(low, high + 1))
        if len(ends) >= length: out.append(texts[i][:ends[length - 1][1]])
        if len(out) == n: return out
    return out


class OpenVINO:
    "OpenVINO with sorted batches of so many tokens, in one of its modes."
    def __init__(self, mode: str, tokens: int):
        import openvino
        with quiet():
            from transformers import AutoModel
            net = AutoModel.from_pretrained(packaged(), attn_implementation='sdpa').eval()

        class Layers(torch.nn.Module):        # what the tracer can follow: embeddings, a mask that is added, layers
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, input_ids, attention_mask):
                x, hidden = self.net.embeddings(input_ids=input_ids), ((1 - attention_mask.float()) * -1e9)[:, None, None, :]
                for layer in self.net.encoder.layer:
                    x = layer(x, hidden)
                    x = x[0] if isinstance(x, tuple) else x
                return x

        one = torch.ones(2, 16, dtype=torch.long)
        with warnings.catch_warnings(action='ignore'):
            model = openvino.convert_model(Layers(), example_input={'input_ids': one, 'attention_mask': one})
        kind = 'bf16' if choose('cpu', 'auto')[1] == 'bfloat16' else 'f32'
        streams = {'NUM_STREAMS': CORES} if mode == 'THROUGHPUT' else {}
        self.made = openvino.Core().compile_model(model, 'CPU', {'PERFORMANCE_HINT': mode, 'INFERENCE_PRECISION_HINT': kind, **streams})
        self.queue = openvino.AsyncInferQueue(self.made, CORES if streams else 1)
        self.queue.set_callback(self.done)
        self.reader, self.tokens = Transformer(packaged(), dtype='float32'), tokens
        self.reader.load()

    def done(self, request, job) -> None:
        batch, mask = job
        states = request.get_output_tensor(0).data
        self.out[batch] = np.einsum('btd,bt->bd', states, mask.astype(np.float32)) / mask.sum(1, keepdims=True)

    def encode(self, texts: list[str]) -> np.ndarray:
        ids, _ = self.reader.pieces(texts)
        size = np.array([len(i) for i in ids])
        self.out = np.zeros((len(texts), 384), np.float32)
        for batch in batches(size, self.tokens):
            mask = np.arange(size[batch].max()) < size[batch][:, None]
            padded = np.zeros(mask.shape, np.int64)
            padded[mask] = np.concatenate([ids[i] for i in batch])
            self.queue.start_async({'input_ids': padded, 'attention_mask': mask.astype(np.int64)}, (batch, mask))
        self.queue.wait_all()
        return unit_rows(self.out)


def competitors(device: str) -> dict:
    "Name -> a function from texts to vectors."
    ways = {'recbook': Transformer(packaged(), device).encode, 'recbook float32': Transformer(packaged(), device, 'float32').encode}
    try:
        from sentence_transformers import SentenceTransformer
        with quiet(): st = SentenceTransformer(str(packaged()), device=choose(device, 'auto')[0])
        ways['sentence-transformers'] = lambda texts: unit_rows(st.encode(texts, show_progress_bar=False))
    except ImportError: SKIPPED['sentence-transformers'] = 'pip install sentence-transformers'
    if choose(device, 'auto')[0] != 'cpu': return ways
    try:
        import openvino   # noqa: F401
        for mode in ('LATENCY', 'THROUGHPUT'):
            for tokens in (1024, 2048, 4096): ways[f'OpenVINO {mode.lower()} {tokens}'] = OpenVINO(mode, tokens).encode
    except ImportError: SKIPPED['openvino'] = 'pip install openvino'
    return ways


def race(ways: dict, texts: list[str], rounds: int) -> tuple[dict, dict]:
    "Seconds of each round, and vectors, by name; all run once before for warmth."
    vectors, seconds = {}, {name: [] for name in ways}
    for way in ways.values(): way(texts[:200])
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            vectors[name] = way(texts)
            seconds[name].append(time.perf_counter() - start)
            print(f'{len(texts) / seconds[name][-1]:8.0f} texts a second  {name}', flush=True)
    return seconds, vectors


def measure_ways(args) -> dict:
    texts = sample()
    ways = competitors(args.device)
    seconds, vectors = race(ways, texts, args.rounds)
    open_vino = {n: np.median(s) for n, s in seconds.items() if n.startswith('OpenVINO')}
    if open_vino:                       # its best setting stands for it
        best = min(open_vino, key=open_vino.get)
        for name in open_vino:
            if name != best: del seconds[name], vectors[name]
    true = vectors.get('sentence-transformers', vectors['recbook float32'])
    rows = {name: {'per_second': len(texts) / float(np.median(s)), 'seconds': sorted(s), 'lowest_cosine': float((vectors[name] * true).sum(1).min())}
            for name, s in seconds.items()}
    model = Transformer(packaged())
    model.load()
    tokens = sum(map(len, model.pieces(texts)[0]))
    ours = rows['recbook']['per_second']
    found = {'ways': rows, 'tokens': tokens, 'chosen': str(getattr(model.model, 'dtype', model.dtype)).removeprefix('torch.'),
             'ratios': {name: ours / row['per_second'] for name, row in rows.items() if name != 'recbook'}}
    if args.peak:
        flops = 2 * sum(p.numel() for name, p in model._library().named_parameters() if 'encoder' in name) * tokens
        found['share_of_peak'] = flops / (tokens / (ours * tokens / len(texts))) / args.peak / 1e12
    return found


LOADS = {'recbook': "from recbook.encode import Encoder; Encoder('minilm', cache=False).encode(['one text'])",
         'sentence-transformers': "from sentence_transformers import SentenceTransformer; SentenceTransformer({folder!r}, device='cpu').encode(['one text'])"}


def measure_load(args) -> dict:
    "Seconds of a fresh process."
    seconds = {name: [] for name in LOADS}
    for _ in range(args.rounds + 2):
        for name, code in LOADS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, '-c', code.format(folder=str(packaged()))], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    middle = {name: float(np.median(s[1:])) for name, s in seconds.items()}      # the first fills the disk's cache
    print(middle, flush=True)
    return {'load': middle, 'load_ratio': middle['sentence-transformers'] / middle['recbook']}


def measure_cache(args) -> dict:
    "Seconds for 100,000 known texts, in a process that has not seen them."
    code = ("import time, sys; from recbook.encode import Encoder; texts = [f'the film number {i}, a comedy of errors in {i % 7} acts' for i in range(100_000)]\n"
            "e = Encoder('minilm'); s = time.perf_counter(); v = e.encode(texts); print(time.perf_counter() - s, e.hits, e.misses)")
    seconds = []
    for _ in range(args.rounds + 1):
        run = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
        took, hits, misses = run.stdout.split()
        print(run.stdout.strip(), flush=True)
        if misses == '0': seconds.append(float(took))
    return {'cache': {'texts': 100_000, 'seconds': float(np.median(seconds))}}


def measure_stream(args) -> dict:
    "A million short texts through `encode_to` in a process of its own."
    run = subprocess.run([sys.executable, __file__, '--child'], check=True, capture_output=True, text=True)
    found = json.loads(run.stdout.splitlines()[-1])
    print(found, flush=True)
    return {'stream': found}


def child(n: int = 1_000_000) -> None:
    memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    encoder, marks = Encoder('minilm', cache=False), []
    encoder.encode([f'warm {i}' for i in range(20_000)])
    def texts():
        for i in range(n):
            if i in (n // 10, n - 1): marks.append(memory())
            yield f'film {i % 1000} of {i // 1000}'
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        vectors = encoder.encode_to(Path(folder)/'million.npy', texts())
        seconds = time.perf_counter() - start
        told = {'texts': len(vectors), 'per_second': n / seconds, 'file_gb': vectors.nbytes / 1e9, 'peak_gb_after_a_tenth': marks[0], 'peak_gb_at_the_end': marks[1]}
        print(json.dumps(told))


TASKS = {'ways': measure_ways, 'load': measure_load, 'cache': measure_cache, 'stream': measure_stream}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', choices=TASKS, help='one task')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--peak', type=float, default=0, help="the card's bfloat16 peak in teraflops a second")
    parser.add_argument('--out', type=Path, default=None)
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return child()
    out = args.out or HERE/'results'/('encode.json' if args.device == 'cpu' else f'encode-{args.device}.json')
    found = json.loads(out.read_text()) if out.is_file() else {}
    for name, task in TASKS.items():
        if args.only in (None, name): found |= task(args)
    found |= {'machine': machine(CORES), 'versions': versions('sentence-transformers', 'openvino', 'tokenizers'), 'commit': commit(),
              'date': str(date.today()), 'skipped': SKIPPED}
    with write_aside(out) as aside: aside.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__': main()
