#!/bin/sh
# Build the wheel, install it alone in an empty environment, and use it there as a stranger would.
# Usage: tests/wheel.sh PYTHON        (an unchanged wheel keeps its environment)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
place=${RECBOOK_CACHE:-$root/.cache}/wheel
mkdir -p "$place"
rm -rf "$place/dist" "$root/build"
"$root/.venv/bin/pip" wheel -q --no-deps -w "$place/dist" "$root"
rm -rf "$root/build"
key=$(cat "$root"/recbook/*.py "$root/settings.ini" "$root/setup.py" "$root/constraints.txt" | cksum)
if [ "$(cat "$place/key" 2>/dev/null)" != "$key" ]; then
    rm -rf "$place/env" "$place/key"
    "$1" -m venv "$place/env"
    "$place/env/bin/pip" install -q -c "$root/constraints.txt" "$place"/dist/recbook-*.whl
    echo "$key" > "$place/key"
fi
cd "$place"
"$place/env/bin/python" - <<'PY'
import recbook, sys
from importlib.metadata import distributions
names = {d.metadata['Name'].lower() for d in distributions()}
assert not {'nbdev', 'jupyterlab', 'rectools-lightfm'} & names, 'the environment is not empty'
assert 'torch' not in sys.modules
print('   recbook', recbook.__version__, 'imports')
PY
env/bin/recbook --help > /dev/null
printf 'user,item,value,title\nann,a,5,Alien\nann,b,4,Heat\nbob,a,5,Alien\nbob,c,4,Big\ncy,b,5,Heat\ncy,c,5,Big\n' > toy.csv
env/bin/recbook recommend --data toy.csv --user ann --k 1 --json toy.json > /dev/null
"$place/env/bin/python" -c "import json; got = json.load(open('toy.json')); assert got['items'][0]['id'] == 'c', got; print('   a list for ann:', [i['title'] for i in got['items']])"
