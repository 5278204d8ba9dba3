bench: $(VENV)/.tools ## measure this machine beside the rivals (make bench ARGS=--quick)
	@exec $(BIN)/shmchan bench $(ARGS)

.PHONY: bench
