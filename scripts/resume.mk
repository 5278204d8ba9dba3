resume: $(VENV)/.tools ## cut 1,000 clients off for 30 s, and see that each gets what it missed
	@RESUME_CLIENTS=$(or $(CLIENTS),1000) RESUME_SECONDS=$(or $(AWAY),30) exec $(BIN)/python -m pytest -q -s tests/system/test_groups.py -k cut_off $(ARGS)

.PHONY: resume
