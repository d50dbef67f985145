"""The gates: `nox` runs all of them, `nox -s lint` one; `nox -s tests-3.11 -- -k masking` hands pytest arguments.

One more than there are cores run at a time, as tests that wait for other processes leave cores idle. What one prints is
shown when it has ended; `nox -j 1` shows it as it comes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

CORES = os.cpu_count() or 1

nox.needs_version = ">=2026.10.20"
nox.options.allow_parallel = True
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.parallel = CORES + 1
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
PROGRAMS = ROOT / ".nox" / "development" / "bin"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    # The models of the tests are so small that more threads only wait for each other.
    "OMP_NUM_THREADS": "1",
    # What is imported is compiled then, and kept; pip would compile all 18,000 modules, which takes twice as long as to
    # install them. (PIP_NO_COMPILE=1 has it compile: the name of the setting is "compile".)
    "PIP_COMPILE": "0",
    "PYTHONDONTWRITEBYTECODE": "",
    "TOKENIZERS_PARALLELISM": "false",
}


def requirements(*packages: str, groups: tuple[str, ...] = (), pins: str = "constraints.txt") -> list[str]:
    """Return what pip is asked for: packages and dependency groups, none in another version than `pins` says."""
    return ["-c", str(ROOT / pins), *packages, *nox.project.dependency_groups(PYPROJECT, *groups)]


def run_tests(session: nox.Session, pins: str, processes: int, *options: str) -> None:
    """Install the package with the versions of `pins`, and run all tests or those that the arguments name."""
    session.env.update(ENVIRONMENT)
    session.install(*requirements(".", groups=("test",), pins=pins))
    spread = ["-n", str(processes)] if processes > 1 and not session.posargs else []
    session.run("pytest", "--durations=20", *spread, *(session.posargs or options))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*requirements(groups=("lint",)))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(default=False)
def development(session: nox.Session) -> None:
    """Make one environment for several sessions: torch is large, and installs slowly."""
    session.env.update(ENVIRONMENT)
    session.install(*requirements("-e", str(ROOT), groups=("docs", "test", "types")))


@nox.session(venv_backend="none", requires=["development"])
def types(session: nox.Session) -> None:
    """Check the types of the package."""
    session.run(str(PROGRAMS / "mypy"), external=True)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests on the pinned versions, but for those that `benchmarks` runs on them."""
    run_tests(session, "constraints.txt", CORES, "--ignore=tests/gpu")


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """Run tests on the oldest versions that the package declares to work with, but not every case of each.

    What a version lacks it lacks in all cases. What hangs on no version (marked `once`) is left out.
    """
    run_tests(session, "minimums.txt", CORES // 2, "-m", "not once", "--cases", "3")


@nox.session(venv_backend="none", requires=["development"])
def examples(session: nox.Session) -> None:
    """Run every example at a small size, but for the study of all methods, which the tests build and look into."""
    session.env.update(ENVIRONMENT)
    python = str(PROGRAMS / "python")
    session.chdir(session.create_tmp())
    for script in sorted((ROOT / "examples").glob("*.py")):
        session.run(python, str(script), "--smoke", external=True)
    for recipe in sorted(set((ROOT / "examples").glob("*.yaml")) - {ROOT / "examples" / "all_methods.yaml"}):
        session.run(python, str(ROOT / "scripts" / "smoke_study.py"), str(recipe), external=True)
    for method in ("ppo", "sft"):
        launched = [str(ROOT / "examples" / "accelerate" / "train.py"), "--method", method, "--rollouts", "1"]
        session.run(python, *launched, external=True)


@nox.session(venv_backend="none", requires=["development"])
def benchmarks(session: nox.Session) -> None:
    """Run all parts of the benchmark for a GPU, on the processor and at toy size."""
    session.env.update(ENVIRONMENT)
    command = ["benchmarks/gpu.py", "--dry-run", "--output", session.create_tmp()]
    session.run(str(PROGRAMS / "python"), *command, external=True)


@nox.session(venv_backend="none", requires=["development"])
def docs(session: nox.Session) -> None:
    """Build the documentation and run every example in it."""
    session.env.update(ENVIRONMENT)
    session.run(str(PROGRAMS / "sphinx-build"), "-q", "-W", "--keep-going", "docs", "docs/_build/html", external=True)
    pages = sorted(str(page) for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
    session.run(str(PROGRAMS / "python"), "docs/run_code_blocks.py", "README.md", *pages, external=True)
    session.run(str(PROGRAMS / "pytest"), "--doctest-modules", "src", external=True)


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and source distribution, and use the wheel in an environment with nothing else."""
    session.env.update(ENVIRONMENT)
    session.install(*requirements("build"))
    folder = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "-q", "--outdir", str(folder / "dist"), str(ROOT))
    (wheel,) = (folder / "dist").glob("genrlhf-*.whl")
    programs = folder / "clean" / "bin"
    session.run(sys.executable, "-m", "virtualenv", "-q", "--clear", str(folder / "clean"), external=True)
    session.chdir(folder)
    session.run(str(programs / "pip"), "install", "-q", *requirements(str(wheel)), external=True)
    session.run(str(programs / "python"), "-c", "import genrlhf; print(genrlhf.__version__)", external=True)
    session.run(str(programs / "genrlhf"), "--help", external=True)
