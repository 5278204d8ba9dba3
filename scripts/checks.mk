# What checks the C beyond its tests: models, sanitizers, the other architecture, fuzzing. All but the long fuzzing are in
# `make test` as well.

checkers:
	@scripts/find-checkers

test: checkers

models: $(VENV)/.tools checkers ## search the models of the core's protocols, and their mutations
	@exec $(BIN)/python -m pytest -s tests/models $(ARGS)

sanitize: $(VENV)/.tools checkers ## the core under TSan, ASan and UBSan
	@SHMCHAN_SANITIZE=all SHMCHAN_TSAN_SECONDS=20 exec $(BIN)/python -m pytest -s --timeout 900 tests/sanitize $(ARGS)

aarch64: $(VENV)/.tools checkers ## compile the core for aarch64 and run it under qemu-user
	@exec $(BIN)/python -m pytest -s tests/aarch64 $(ARGS)

fuzz: $(VENV)/.tools checkers ## fuzz segments, frames, messages and HTTP (make fuzz SECONDS=3600)
	@exec $(BIN)/python -m tests.fuzz.campaign $(if $(filter command environment,$(origin SECONDS)),$(SECONDS),300)

.PHONY: checkers models sanitize aarch64 fuzz
