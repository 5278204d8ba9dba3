delay-storm: $(VENV)/.tools ## kill the delay process at random and at each step (make delay-storm KILLS=100 MESSAGES=100000)
	@exec $(BIN)/python -m tests.delay.storm $(if $(filter command environment,$(origin KILLS)),$(KILLS),100) $(or $(MESSAGES),100000) $(or $(SEED),0)

.PHONY: delay-storm
