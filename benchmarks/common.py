"What the benchmarks have in common: the machine, versions and commit they ran on."
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent


def machine(threads: int = 1) -> dict:
    "Processor, cores, system, threads used; no names of hosts or people."
    cpu = platform.processor()
    if Path('/proc/cpuinfo').exists():
        names = [line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
        cpu = names[0] if names else cpu
    return {'cpu': cpu, 'cores': os.cpu_count(), 'system': platform.system(), 'threads_used': threads}


def versions(*more: str) -> dict:
    "The version of Python and of the packages that are installed; `more` are asked for beside the usual ones."
    found = {'python': platform.python_version()}
    for name in ('numpy', 'scipy', 'pandas', 'scikit-learn', 'torch', 'transformers', 'rectools-lightfm', 'implicit', *more, 'recbook'):
        try: found[name] = version(name)
        except PackageNotFoundError: continue
    return found


def commit() -> str | None:
    "The commit of the working tree, if there is one."
    run = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=HERE, capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else None
