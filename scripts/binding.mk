binding: $(VENV)/.tools ## 10,000 changes in one transaction, heard by 1,000 connections
	@BINDING_CONNECTIONS=$(or $(CONNECTIONS),1000) exec $(BIN)/python -m pytest -q -s tests/system/test_binding.py $(ARGS)

.PHONY: binding
