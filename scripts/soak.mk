SECONDS ?= 600

soak: $(VENV)/.tools ## load a server for SECONDS while workers are killed, and look for leaks (make soak SECONDS=600)
	@SECONDS=$(SECONDS) exec $(BIN)/python -m pytest -q -s tests/system/test_soak.py

.PHONY: soak
