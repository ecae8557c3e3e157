PYTHON ?= python3

.PHONY: setup check check-all soak gpu-check docs format

setup:  ## an editable install with every development tool, and the link type checkers read
	$(PYTHON) -m pip install -e '.[dev]'
	mkdir -p .types && ln -sfn .. .types/unillm

check:  ## format, lint, types, import floors, tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy -p unillm
	$(PYTHON) -m pyright
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile -m 'not slow'

check-all: check  ## the same, with the slow matrices
	$(PYTHON) -m pytest -m 'slow and not soak'

soak:  ## ten minutes of a server whose clients vanish
	$(PYTHON) -m pytest -s -m soak

gpu-check:  ## kernels against plain torch on the GPU here, and its speeds; needs only torch, triton and numpy
	mkdir -p .types && ln -sfn .. .types/unillm
	PYTHONPATH=.types $(PYTHON) -m unillm.tests.gpu.check

docs:  ## completions and man pages, from the table of commands
	$(PYTHON) -m unillm.unillm_cli.reference

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
