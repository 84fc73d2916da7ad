"""The house rules that a chapter cannot check by itself."""
import ast
import json
import re
import resource
import subprocess
import sys

import pytest
from conftest import CHAPTERS, ROOT, cells

MODULE = {}
for _path in CHAPTERS:
    _code = '\n'.join(''.join(c['source']) for c in cells(_path) if c['cell_type'] == 'code')
    if _found := re.search(r'^#\|\s*default_exp\s+(\w+)', _code, re.M): MODULE[_found[1]] = _path.stem


def own_imports(source: str, inside: bool) -> list[tuple[str, bool]]:
    "(module of this book, by star?) for each import; `inside` the package, imports are relative."
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            name = (node.module or '') if inside and node.level else (node.module or '').removeprefix('recbook.')
            if name.split('.')[0] in MODULE: found.append((name.split('.')[0], any(a.name == '*' for a in node.names)))
    return found


def test_every_module_has_its_chapter():
    modules = {p.stem for p in (ROOT/'recbook').glob('*.py') if not p.stem.startswith('_')}
    assert modules == set(MODULE)
    assert all(stem.split('_', 1)[1] == module for module, stem in MODULE.items())


@pytest.mark.parametrize('module', MODULE)
def test_a_module_imports_from_earlier_chapters_by_name(module):
    for other, star in own_imports((ROOT/'recbook'/f'{module}.py').read_text(encoding='utf-8'), inside=True):
        assert MODULE[other] < MODULE[module], f'{module} imports the later chapter {other}'
        assert not star


# The index and the tour look ahead on purpose: they show the whole book.
@pytest.mark.parametrize('path', [p for p in CHAPTERS if p.stem not in ('index', '00_tour')], ids=lambda p: p.stem)
def test_a_chapter_imports_from_earlier_chapters_by_name(path):
    for cell in cells(path):
        source = re.sub(r'^[%!].*$', '', ''.join(cell['source']), flags=re.M)
        if cell['cell_type'] != 'code': continue
        for other, star in own_imports(source, inside=False):
            assert MODULE[other] <= path.stem, f'{path.stem} imports the later chapter {other}'
            assert not star


BAD_OUTPUT = {'a warning': r'Warning\b', 'an absolute path': r'(?<![\w.:/<&])/(?:[\w.-]+/){2,}[\w.-]+',
              'progress litter': r'\d+%\||it/s\]', 'a home folder': r'/root|/home/|/Users/|C:\\\\'}


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_outputs_are_fresh_and_clean(path):
    code = [c for c in cells(path) if c['cell_type'] == 'code' and ''.join(c['source']).strip()]
    for cell in code:
        for output in cell['outputs']:
            assert output['output_type'] != 'error', ''.join(cell['source'])
            assert output.get('name') != 'stderr', ''.join(cell['source'])
            text = json.dumps({k: v for k, v in output.get('data', output).items() if not k.startswith('image/')})
            for what, pattern in BAD_OUTPUT.items():
                assert not re.search(pattern, text), f'{what} in the output of: {"".join(cell["source"])[:200]}'
    for cell in code:
        source = re.sub(r'^[%!].*$', '', ''.join(cell['source']), flags=re.M)
        skipped = re.search(r'^#\|\s*(slow|cuda|hide)', source, re.M)
        assert cell['outputs'] or skipped or not shows(source), f'not executed: {source[:200]}'


SHOWN = (ast.Name, ast.Tuple, ast.List, ast.Dict, ast.ListComp, ast.Subscript, ast.JoinedStr, ast.BinOp, ast.Compare)


def shows(source: str) -> bool:
    "Whether a cell must have an output: it prints, ends in a value, or draws a figure and leaves it open."
    draws = re.search(r'^\s*fig, \w+ = plt\.subplots', source, re.M) and not re.search(r'plt\.close|\bdef ', source)
    last = (ast.parse(source).body or [None])[-1]
    return bool(draws or re.search(r'^(print|display)\(', source, re.M) or isinstance(last, ast.Expr) and isinstance(last.value, SHOWN))


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_no_heading_stands_twice(path):
    text = '\n'.join(''.join(c['source']) for c in cells(path) if c['cell_type'] == 'markdown')
    found = re.findall(r'^#+ .+$', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S), re.M)
    assert len(found) == len(set(found)), sorted(h for h in set(found) if found.count(h) > 1)


def seconds(*args: str) -> float:
    "Processor seconds of a fresh Python, which on a machine at rest are the seconds that a person waits."
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], check=True, capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_import_and_help_are_light():
    heavy = "import sys, recbook, recbook.cli; assert not {'torch', 'transformers', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', heavy], check=True, cwd=ROOT)
    assert min(seconds('-c', 'import recbook') for _ in range(3)) < .5
    assert min(seconds('-m', 'recbook.cli', '--help') for _ in range(3)) < .5


def test_settings_and_setup_agree():
    settings = (ROOT/'settings.ini').read_text(encoding='utf-8')
    extras = set(re.findall(r'^(\w+)_requirements', settings, re.M))
    from importlib.metadata import metadata
    assert extras | {'all'} <= set(metadata('recbook').get_all('Provides-Extra'))


def test_the_book_names_every_chapter():
    sidebar = (ROOT/'nbs'/'sidebar.yml').read_text(encoding='utf-8')
    assert {p.name for p in CHAPTERS} == set(re.findall(r'[\w]+\.ipynb', sidebar))
    assert (ROOT/'nbs'/'_quarto.yml').is_symlink()


def test_chapter_links_lead_somewhere():
    names = {p.name for p in CHAPTERS}
    for path in CHAPTERS:
        for cell in cells(path):
            for link in re.findall(r'\]\((\w+\.ipynb)', ''.join(cell['source'])): assert link in names, f'{path.stem}: {link}'
