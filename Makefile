# Two commands for newcomers: `make demo` and `make test`. Both prepare what they need.
VENV := .venv
BIN := $(VENV)/bin
# One thread each: two busy OpenMP processes on two cores slow each other down.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# One more than two cores have: a third of the time a test waits for its child processes.
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n 3 --dist loadgroup

# Compiled modules are kept: every command and every test process imports torch.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick check format bench clean

demo: $(VENV)/.ready
	$(BIN)/understudy demo

test: $(VENV)/.ready
	$(PYTEST) --durations 10

# The tests without those marked slow.
quick: $(VENV)/.ready
	$(PYTEST) -m "not slow"

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python -m benchmarks.trainer

# uv takes torch and torchvision from one source, so that they match; plain pip may not.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
