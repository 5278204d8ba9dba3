docs: $(VENV)/.tools ## build the documentation into build/docs; a warning is an error
	@$(BIN)/python -m sphinx -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

.PHONY: docs
