order: $(VENV)/.tools ## 1,000 WebSockets in order on 8 workers, and what order costs
	@ORDER=1000,8 $(BIN)/python -m pytest -q tests/system/test_order.py
	@exec $(BIN)/shmchan bench ordering

.PHONY: order
