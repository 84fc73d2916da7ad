"""The command as a person meets it: the main path, and every kind of wrong input."""
import json
import os
import zipfile

import pytest
from conftest import recbook

TITLES = ('red fox,blue whale,old oak,green tea,black tea,white wine,gold ring,iron gate,stone bridge,'
          'paper boat,glass bell,wool hat').split(',')
LOG = 'user,item,value,time,title\n' + ''.join(
    f'u{u},i{(i := (u * 3 + j * j) % 12)},{1 + (u + j) % 5},{100 * u + j},{TITLES[i]}\n' for u in range(30) for j in range(8))


@pytest.fixture
def log(tmp_path):
    (tmp_path/'log.csv').write_text(LOG)
    return tmp_path


def complains(result, *parts):
    "One clear line on stderr, exit code 2, no stack of frames."
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 2, result.stderr
    assert 'Traceback' not in result.stderr
    assert last.startswith('recbook: ')
    for part in parts: assert part in last, last


def test_evaluate_a_file(log):
    done = recbook('evaluate', '--data', 'log.csv', '--models', 'popular,ease', '--k', '5,10', '--metrics', 'ndcg,recall',
                   '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    result = json.loads((log/'r.json').read_text())
    assert result['data']['users'] == 30
    for model in ('popular', 'ease'):
        low, high = result['models'][model]['ndcg@5_ci']
        assert 0 <= low <= result['models'][model]['ndcg@5'] <= high <= 1
        assert result['models'][model]['fit_seconds'] >= 0
    assert 'popular' in done.stdout and 'ndcg@10' in done.stdout


def test_evaluate_files_split_by_hand(log):
    rows = LOG.splitlines()
    (log/'train.csv').write_text('\n'.join(rows[:1] + rows[1::2]))
    (log/'test.csv').write_text('\n'.join(rows[:1] + rows[2::2]))
    done = recbook('evaluate', '--split', 'file:train.csv,test.csv', '--min-value', '1', '--models', 'itemknn', '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    assert json.loads((log/'r.json').read_text())['split'] | {'seed': 0} == {
        'spec': 'file:train.csv,test.csv', 'seed': 0, 'train': 120, 'valid': 0, 'test': 120}


def test_a_board_with_controls(log):
    done = recbook('evaluate', '--data', 'log.csv', '--models', 'content', '--encoder', 'tfidf', '--controls', '--metrics', 'ndcg,auc',
                   '--board', 'board.html', '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    models = json.loads((log/'r.json').read_text())['models']
    assert set(models) == {'content', 'content-random', 'content-shuffled', 'popular', 'itemknn', 'ease', 'ials'}
    assert set(models['content']) >= {'ndcg@10', 'auc'}
    assert 'content-shuffled' in (log/'board.html').read_text() and 'corrected for 21 comparisons' in done.stdout.replace('\n', ' ')
    complains(recbook('evaluate', '--data', 'log.csv', '--board', 'board.pdf', cwd=log), '--board writes .html or .tex')


def test_recommend_with_reasons(log):
    done = recbook('recommend', '--data', 'log.csv', '--user', 'u3', '--k', '3', '--explain', '--encoder', 'tfidf',
                   '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    result = json.loads((log/'r.json').read_text())
    assert len(result['items']) == 3
    seen = {line.split(',')[1] for line in LOG.splitlines() if line.startswith('u3,') and int(line.split(',')[2]) >= 4}
    assert not seen & {item['id'] for item in result['items']}
    assert all(item['title'] in TITLES for item in result['items'])


def test_a_log_without_texts(log):
    (log/'bare.csv').write_text('\n'.join(line.rpartition(',')[0] for line in LOG.splitlines()))
    done = recbook('demo', '--data', 'bare.csv', '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    assert set(json.loads((log/'r.json').read_text())['models']) == {'popular', 'itemknn', 'ease', 'lightfm'}
    complains(recbook('evaluate', '--data', 'bare.csv', '--models', 'content', cwd=log), 'none of the 8 items', 'has a text')


def test_data_verbs(log):
    assert 'ml-100k' in recbook('data', 'list', cwd=log).stdout
    described = recbook('data', 'describe', 'log.csv', '--json', 'd.json', cwd=log)
    assert described.returncode == 0, described.stderr
    assert json.loads((log/'d.json').read_text())['users'] == 30


def test_unknown_names(log):
    complains(recbook('demo', '--data', 'ml-10k', cwd=log), 'ml-100k')
    complains(recbook('evaluate', '--data', 'log.csv', '--models', 'eaze', cwd=log), "did you mean 'ease'?")
    complains(recbook('evaluate', '--data', 'log.csv', '--metrics', 'ndgc', cwd=log), 'ndcg')
    complains(recbook('evaluate', '--data', 'log.csv', '--split', 'lats', cwd=log), "did you mean 'last'?")
    complains(recbook('recommend', '--data', 'log.csv', '--user', 'u99', cwd=log), "no user 'u99'")
    complains(recbook('demo', '--encoder', 'no-such-model', '--data', 'log.csv', cwd=log), 'no-such-model')
    complains(recbook('dmeo', cwd=log), 'dmeo')


def test_layers_of_a_file(log):
    done = recbook('layers', '--data', 'log.csv', '--encoder', 'tfidf', '--user', 'u3', '--out', 'tree', '--pictures', 'page.HTML',
                   '--json', 'r.json', cwd=log)
    assert done.returncode == 0, done.stderr
    result = json.loads((log/'r.json').read_text())
    assert result['user'] == 'u3' and all(result['interests'].values()) and len(result['nodes']) > 1
    assert (log/'tree'/'meta.json').is_file() and 'Card of' not in done.stdout and 'User u3' in (log/'page.HTML').read_text()


def test_layers_of_one_who_liked_nothing(log):
    (log/'log.csv').write_text(LOG + 'sad,i0,1,9999,red fox\n')
    done = recbook('layers', '--data', 'log.csv', '--encoder', 'tfidf', '--user', 'sad', cwd=log)
    assert done.returncode == 0, done.stderr
    assert 'nothing liked by sad' in done.stdout and 'try --min-value' in done.stdout and 'weight' not in done.stdout


@pytest.mark.parametrize('sizes', ['²', ',', '0', '5,5', '8,4', '8,four'])
def test_layers_of_bad_sizes(log, sizes):
    done = recbook('layers', '--data', 'log.csv', '--sizes', sizes, cwd=log)
    complains(done, '--sizes takes whole numbers that grow')
    assert 'encode' not in done.stderr


@pytest.mark.parametrize('option, path, part', [
    ('--out', 'log.csv', 'it is a file, and --out takes a folder'), ('--out', 'log.csv/tree', 'cannot write log.csv/tree'),
    ('--out', 'mine', 'holds other files, which would be lost'), ('--pictures', 'log.csv/page.html', 'give --pictures another place'),
    ('--json', 'mine', 'it is a folder, and --json takes a file')])
def test_layers_tries_its_targets_before_the_work(log, option, path, part):
    (log/'mine').mkdir()
    (log/'mine'/'letter.txt').write_text('keep me')
    done = recbook('layers', '--data', 'log.csv', '--encoder', 'tfidf', option, path, cwd=log)
    complains(done, part)
    assert 'encode' not in done.stderr and (log/'mine'/'letter.txt').read_text() == 'keep me'
    assert {p.name for p in log.iterdir()} == {'log.csv', 'mine'}


@pytest.mark.parametrize('k', ['0', '-3', 'ten', '', '²', '--3'])
def test_bad_k(log, k):
    complains(recbook('demo', '--k', k, cwd=log), '--k')


@pytest.mark.parametrize('content, part', [
    ('', 'empty'), ('user,item\n', 'empty'), ('user,thing\na,b\n', "'item'"),
    ('user,item\na,x\n,y\n', "'user'"), ('user,item,value\na,x,good\nb,y,bad\n', "'good'")],
    ids=['empty file', 'no rows', 'missing column', 'NaN user', 'a rating column of words'])
def test_bad_tables(tmp_path, content, part):
    (tmp_path/'bad.csv').write_text(content)
    complains(recbook('evaluate', '--data', 'bad.csv', cwd=tmp_path), part)


def test_an_empty_test_part(log):
    complains(recbook('evaluate', '--data', 'log.csv', '--split', 'random:0.9,0.1,0', cwd=log), 'empty test part')
    complains(recbook('evaluate', '--data', 'log.csv', '--split', 'time:1', cwd=log), 'empty test part')
    complains(recbook('evaluate', '--data', 'log.csv', '--min-value', '9', cwd=log), '9 or more')


def test_a_truncated_zip(tmp_path):
    with zipfile.ZipFile(tmp_path/'whole.zip', 'w') as z: z.writestr('ml-1m/ratings.dat', '1::2::5::978300760\n' * 1000)
    whole = (tmp_path/'whole.zip').read_bytes()
    (tmp_path/'ml-1m.zip').write_bytes(whole[:len(whole) // 2])
    complains(recbook('data', 'describe', 'ml-1m.zip', cwd=tmp_path), 'ml-1m.zip')


def test_an_unwritable_cache(log):
    (log/'file').write_text('')
    cache = str(log/'file'/'cache')
    complains(recbook('recommend', '--data', 'log.csv', '--user', 'u3', '--model', 'content', cwd=log, RECBOOK_CACHE=cache), 'RECBOOK_CACHE')


def test_no_network(tmp_path):
    "Every address leads nowhere: the sentence says where to put the file by hand."
    nowhere = {name: 'http://127.0.0.1:9' for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')}
    done = recbook('data', 'get', 'ml-20m', cwd=tmp_path, RECBOOK_CACHE=str(tmp_path/'cache'), RECBOOK_DATA=str(tmp_path), **nowhere)
    complains(done, 'ml-20m.zip')
    assert not list(tmp_path.rglob('*.zip'))


def test_a_report_that_cannot_be_written_leaves_nothing(log):
    (log/'out').write_text('a file where the folder should stand')
    complains(recbook('demo', '--data', 'log.csv', '--encoder', 'tfidf', '--out', 'out', cwd=log), 'cannot write')
    assert (log/'out').read_text().startswith('a file')


def test_the_demo_on_the_world(tmp_path):
    done = recbook('demo', '--json', 'r.json', '--out', 'out', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path/'r.json').read_text())
    assert set(result['models']) == {'popular', 'itemknn', 'ease', 'content', 'lightfm', 'hybrid'}
    for row in result['models'].values():
        assert {'ndcg@10', 'ndcg@10_ci', 'recall@10', 'map@10', 'fit_seconds', 'score_seconds'} <= set(row)
        assert row['ndcg@10_ci'][0] <= row['ndcg@10'] <= row['ndcg@10_ci'][1]
    ndcg = {name: row['ndcg@10'] for name, row in result['models'].items()}
    assert min(ndcg, key=ndcg.get) == 'popular'
    assert len(result['interests']['layers']) == len(result['interests']['ari']) == 3
    page = (tmp_path/'out'/'report.html').read_text()
    assert page.count('<img') == 3 and page.count('class=card') == 3 and 'http' not in page
    assert done.stdout.count(': list by hybrid') == 3


@pytest.mark.parametrize('name, users, items', [('ml-100k', 943, 1682)])
def test_the_demo_path_on_real_films(real_data, tmp_path, name, users, items):
    done = recbook('evaluate', '--data', name, '--models', 'popular,ease', '--json', 'r.json', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path/'r.json').read_text())
    assert (result['data']['users'], result['data']['items']) == (users, items)
    assert result['models']['ease']['ndcg@10_ci'][0] > result['models']['popular']['ndcg@10_ci'][1]
