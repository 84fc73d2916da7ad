"""What the tests share: the chapters, the command, and where real data stands."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT/'nbs').glob('*.ipynb'))
os.environ.setdefault('HF_HUB_OFFLINE', '1')


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding='utf-8'))['cells']


def recbook(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    "Run the command as a user would, in a process of its own."
    return subprocess.run([sys.executable, '-m', 'recbook.cli', *args], cwd=cwd, text=True, capture_output=True,
                          env=os.environ | {'COLUMNS': '160', 'NO_COLOR': '1'} | env, timeout=900)


@pytest.fixture
def real_data() -> Path:
    "The folder of real data sets, or a visible skip."
    folder = os.environ.get('RECBOOK_DATA')
    if not folder: pytest.skip('no real data: set RECBOOK_DATA')
    return Path(folder)
