"""Pictures in a real browser: what is drawn, what the mouse shows, that no title runs, and that no network is needed."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from time import sleep
from urllib.parse import unquote
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest

from recbook.canvas import picture_html, save_html, still_png
from recbook.core import RecbookError
from recbook.data import Dataset
from recbook.layers import Interests
from recbook.pictures import MOST_DOTS, WEBGL, interest_map, interest_sunburst, mark_user
from recbook.portrait import user_card
from recbook.river import interest_flow, interest_stream

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
CHROME = os.environ.get('CHROME') or next(filter(None, map(shutil.which, NAMES)), None)
browser = pytest.mark.skipif(not CHROME, reason='no browser: set CHROME or install chromium')

EVIL = '<img src=x onerror="window.ran=1"><script>window.ran=1</script> & $5 面包'
TITLES = ['bread baking', 'bread oven', 'pasta sauce', 'pasta cheese', 'hiking trail', 'hiking boots', 'sea sailing', EVIL]
ANGLE = np.radians([0, 6, 30, 36, 90, 96, 120, 128])
TOY = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1).astype(np.float32)


@pytest.fixture(scope='module')
def tree() -> Interests:
    return Interests(sizes=(2, 4)).fit(TOY, TITLES[:7] + ['sailing wind'])


@pytest.fixture(scope='module')
def log() -> Dataset:
    events = pd.DataFrame({'user': ['ann', 'ann', 'ann', 'ann', 'bob'], 'item': ['i0', 'i1', 'i6', 'i7', 'i7'],
                           'time': [1_704_067_200 + 86_400 * d for d in (0, 10, 60, 70, 5)],
                           'text': ['', EVIL, '', '好', EVIL], 'value': 4., 'kind': 'review'})
    return Dataset.from_frame(events, pd.DataFrame({'id': [f'i{i}' for i in range(8)], 'title': TITLES}),
                              pd.DataFrame({'id': ['ann', 'bob', 'cy']}), keep_all=True)


# Written into a page before everything else: it counts what a page must not do, and answers at the end.
WATCH = '''<script>
window.told = {violations: 0, errors: []};
document.addEventListener('securitypolicyviolation', () => told.violations++);
window.addEventListener('error', e => told.errors.push(String(e.message)));
</script>'''
ASK = '''<script>
(async () => {
  for (let i = 0; i < 1200 && !(%s); i++) await new Promise(go => setTimeout(go, 50));
  try { Object.assign(told, await (async () => { %s })()); } catch (error) { told.errors.push(String(error)); }
  told.ran = Boolean(window.ran); told.fetched = performance.getEntriesByType('resource').map(e => e.name);
  location.hash = 'told=' + encodeURIComponent(JSON.stringify(told));
})();
</script>'''
HOVER = '''
const said = async div => {
  for (let i = 0; i < 400 && !div.querySelector('.hoverlayer').textContent; i++) await new Promise(go => setTimeout(go, 50));
  return [...div.querySelectorAll('.hoverlayer text')].map(t => t.textContent).join(' ');
};
const hover = (div, curve, point) => {
  Plotly.Fx.unhover(div); Plotly.Fx.hover(div, [{curveNumber: curve, pointNumber: point}]);
  return said(div);
};
const div = document.querySelector('.js-plotly-plot');'''
DRAWN = "document.querySelectorAll('.js-plotly-plot .main-svg').length"


def look(page: str, folder: Path, ready: str, ask: str) -> dict:
    "Open the page with the network closed and return what `ask`, a piece of JavaScript, says about it once `ready` holds."
    path = folder/'page.html'
    head, rest = page.split('<head>', 1)
    body, end = rest.rsplit('</body>', 1)
    path.write_text(f'{head}<head>{WATCH}{body}{ASK % (ready, ask)}</body>{end}', encoding='utf-8')
    command = [CHROME, '--headless', '--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader', '--disable-background-networking',
               '--no-first-run', f'--user-data-dir={folder}/profile', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
               '--remote-debugging-port=0', '--window-size=1200,900', path.as_uri()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try: return answer(folder/'profile'/'DevToolsActivePort')
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder/'profile', ignore_errors=True)


def answer(port: Path, patience: int = 120) -> dict:
    "What a page says of itself: it writes that into its own address, which the browser tells on a local port."
    for _ in range(patience * 10):
        sleep(.1)
        if not port.exists() or not (number := port.read_text().split('\n')[0]): continue
        pages = json.load(urlopen(f'http://127.0.0.1:{number}/json/list', timeout=patience))
        for page in pages:
            if '#told=' in page['url']: return json.loads(unquote(page['url'].split('#told=', 1)[1]))
    raise AssertionError(f'the page said nothing for {patience} seconds')


def saved(picture, folder: Path) -> str:
    return save_html(picture, folder/'saved.html').read_text(encoding='utf-8')


def harmless(told: dict) -> bool:
    return not told['ran'] and not told['fetched'] and not told['violations'] and not told['errors']


@browser
def test_the_map_draws_every_item_and_hover_shows_title_and_path(tree, log, tmp_path):
    fig = mark_user(interest_map(tree, TOY, TITLES), TOY, TITLES, [0, 1, 7])
    told = look(saved(fig, tmp_path), tmp_path, DRAWN, HOVER + '''
        return {dots: div.querySelectorAll('.scatterlayer .point').length, first: await hover(div, 0, 0), evil: await hover(div, 1, 3),
                labels: [...div.querySelectorAll('.annotation-text')].map(t => t.textContent),
                buttons: [...div.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)};''')
    assert harmless(told)
    assert told['dots'] == 8 + 3
    assert 'bread baking' in told['first'] and all(name in told['first'] for name in tree.path(0))
    assert EVIL in told['evil']                                               # read as a text, to the last sign
    assert len(told['labels']) == 2 and not any('cloud' in b.lower() or 'share' in b.lower() for b in told['buttons'])


@browser
def test_a_mouse_over_a_dot_finds_it(tree, tmp_path):
    told = look(saved(interest_map(tree, TOY, TITLES), tmp_path), tmp_path, DRAWN, HOVER + '''
        const dot = div.querySelector('.scatterlayer .point').getBoundingClientRect(), drag = div.querySelector('.nsewdrag');
        const at = {clientX: dot.x + dot.width / 2, clientY: dot.y + dot.height / 2, bubbles: true};
        for (const kind of ['mouseover', 'mousemove']) drag.dispatchEvent(new MouseEvent(kind, at));
        return {said: await said(div)};''')
    assert harmless(told) and 'bread baking' in told['said']


@browser
def test_sunburst_and_river(tree, log, tmp_path):
    names = [['<b>bread</b>', 'sea'], ['a', 'b', 'c', EVIL]]
    tree = Interests(sizes=(2, 4)).fit(TOY, TITLES)
    tree.names = names
    told = look(saved([interest_sunburst(tree, TITLES), interest_stream(tree, interest_flow(tree, log, 0))], tmp_path), tmp_path,
                DRAWN + ' > 1', HOVER + '''
        const [rings, river] = document.querySelectorAll('.js-plotly-plot');
        return {wedges: rings.querySelectorAll('.slice').length, names: [...rings.querySelectorAll('.slicetext')].map(t => t.textContent),
                bands: river.querySelectorAll('.scatterlayer .js-fill').length, month: await hover(river, 1, 2)};''')
    assert harmless(told)
    assert told['wedges'] == 6 and {'<b>bread</b>', EVIL} <= set(told['names'])
    assert told['bands'] == 2 and re.search(r'\d%', told['month'])


@browser
def test_siblings_in_the_river_bear_their_names(tree, log, tmp_path):
    told = look(saved(interest_stream(tree, interest_flow(tree, log, 0, layer=1), layer=1), tmp_path), tmp_path, DRAWN, '''
        return {names: [...document.querySelectorAll('.annotation-text')].map(t => t.textContent),
                legend: [...document.querySelectorAll('.legendtext')].map(t => t.textContent)};''')
    assert harmless(told) and len(told['names']) >= 2
    assert all(any(full.startswith(name) for full in told['legend']) for name in told['names'])


@browser
def test_many_dots_go_to_the_graphics_card(tree, tmp_path):
    many = Interests(sizes=(2, 4)).fit(TOY, TITLES)
    many.items = tree.assign(np.repeat(TOY, WEBGL // 8 + 1, axis=0))
    n = many.items[0].shape[0]
    fig = interest_map(many, np.random.default_rng(0).normal(size=(n, 2)), [f'item {i}' for i in range(n)])
    told = look(saved(fig, tmp_path), tmp_path, DRAWN, HOVER + '''
        const {xaxis, yaxis} = div._fullLayout, box = div.getBoundingClientRect(), {x, y} = div.data[0];
        const at = {clientX: box.x + xaxis._offset + xaxis.d2p(x[5]), clientY: box.y + yaxis._offset + yaxis.d2p(y[5]), bubbles: true};
        for (const kind of ['mouseover', 'mousemove']) div.querySelector('.nsewdrag').dispatchEvent(new MouseEvent(kind, at));
        return {canvases: div.querySelectorAll('canvas').length, dots: div.querySelectorAll('.scatterlayer .point').length,
                points: div.calcdata.reduce((sum, trace) => sum + div.data[trace[0].trace.index].x.length, 0), said: await said(div),
                failed: Boolean(div.querySelector('.no-webgl'))};''')
    assert harmless(told) and not told['failed']
    assert told['canvases'] and not told['dots'] and WEBGL < told['points'] == n <= MOST_DOTS
    assert 'item ' in told['said']


@browser
def test_a_card_runs_nothing(tree, log, tmp_path):
    page = saved([user_card(tree, log, user, TOY, segment=EVIL) for user in range(3)], tmp_path)
    assert "script-src" not in page and '<script' not in page
    # To be asked at all, the page must be allowed this test's own programs.
    told = look(page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"), tmp_path, 'true', '''
        const text = document.body.innerText;
        return {text, images: document.images.length, scripts: document.scripts.length};''')
    assert harmless(told) and told['images'] == 0 and told['scripts'] == 2
    careless = look(f'<!doctype html><html><head></head><body>{EVIL}</body></html>', tmp_path, 'window.ran', 'return {}')
    assert careless['ran'] and told['ran'] is False                           # what runs is noticed
    assert all(part in told['text'] for part in (EVIL, '好', 'no clear interest', 'nothing is known'))


@pytest.fixture(scope='module')
def chapter(tree) -> str:
    "A page as a website makes it of a notebook: a cell with the still picture and the small program."
    from base64 import b64encode
    fig = interest_map(tree, TOY, TITLES)
    image = b64encode(still_png(fig)).decode()
    source = f'src="data:image/png;base64,{image}"'
    return (f'<!doctype html><html><head></head><body><img id="other" width="99" {source}><div class="cell">'
            f'<div class="cell-output"><figure class="figure"><img id="still" width="300" {source}></figure></div>'
            f'<div class="cell-output">{picture_html(fig)}</div></div></body></html>')


ASKED = "document.querySelector('script[integrity], script[src^=data]')"
STATE = '''await new Promise(go => setTimeout(go, 1000));
          const shown = node => getComputedStyle(node).display;
          return {still: shown(document.querySelector('#still').closest('figure')), other: shown(document.querySelector('#other')),
                  drawn: document.querySelectorAll('.js-plotly-plot').length};'''


@browser
def test_without_a_network_the_still_picture_stays(chapter, tmp_path):
    told = look(chapter, tmp_path, ASKED, STATE)
    assert (told['still'], told['other'], told['drawn'], told['ran']) == ('block', 'inline', 0, False)
    assert [name for name in told['fetched'] if not name.startswith('data:')] == re.findall(r"src: '(https[^']*)'", chapter)   # it tried


@browser
def test_with_plotly_at_hand_the_still_picture_gives_way(chapter, tmp_path):
    from plotly.offline import get_plotlyjs
    told = look(chapter.replace('<head>', f'<head><script>{get_plotlyjs()}</script>'), tmp_path, DRAWN, STATE)
    assert (told['still'], told['other'], told['drawn'], told['ran']) == ('none', 'inline', 1, False)


@browser
def test_a_changed_program_is_refused(chapter, tmp_path):
    "The fingerprint of plotly's program holds the browser back from any other."
    changed = re.sub(r"src: 'https[^']*'", "src: 'data:text/javascript,window.ran=1'", chapter)
    told = look(changed, tmp_path, ASKED, STATE)
    assert (told['ran'], told['drawn'], told['still']) == (False, 0, 'block')
    assert look(re.sub(r"integrity: '[^']*', ", '', changed), tmp_path, 'window.ran', STATE)['ran']     # without it, it would run


def test_two_nodes_nine_ids_apart_look_different_everywhere(log):
    late = Interests(sizes=(2, 4)).fit(TOY, TITLES[:7] + ['sailing wind'])
    late.ids = [np.array([0, 9]), late.ids[1]]                                # as after some refits
    dots, rings = interest_map(late, TOY, TITLES), interest_sunburst(late, TITLES)
    river = interest_stream(late, interest_flow(late, log, 0))
    assert len({t.marker.color for t in dots.data}) == len(set(rings.data[0].marker.colors[:2])) == 2
    assert len({t.fillcolor for t in river.data[1:]}) == 2
    assert all(color in user_card(late, log, 0, TOY).html for color in {t.marker.color for t in dots.data})


def test_a_log_of_another_catalogue_gets_a_sentence(log):
    few = Interests(sizes=(2,)).fit(TOY[:7], TITLES[:7])
    for draw in (lambda: interest_flow(few, log, 0), lambda: user_card(few, log, 0, TOY)):
        with pytest.raises(RecbookError, match='the tree has 7 items and the log 8'): draw()


def test_one_item_one_node_no_text_no_event():
    one = Interests().fit(TOY[:1], ['bread'])
    log = Dataset.from_frame(pd.DataFrame({'user': ['u'], 'item': ['i'], 'time': [0], 'value': [1.]}))
    flow = interest_flow(one, log, 0)
    figures = [interest_map(one, np.zeros((1, 2)), [EVIL]), interest_map(one, np.full((1, 2), np.nan), ['']),
               interest_sunburst(one, [EVIL]), interest_stream(one, flow), interest_stream(one, flow * 0)]
    for fig in figures: assert still_png(fig)[:4] == b'\x89PNG' and '<img' not in picture_html(fig)
    assert user_card(one, log, 0, TOY[:1]).html.count('100%') >= 1
