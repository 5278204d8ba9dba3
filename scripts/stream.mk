STREAM_MIB ?= 2048

stream: $(VENV)/.tools ## 2 GiB down and up through a worker, with the memory and the rate (make stream STREAM_MIB=2048)
	@STREAM_MIB=$(STREAM_MIB) exec $(BIN)/python -m pytest -q -s tests/system/test_streams.py -k memory_of_both

.PHONY: stream
