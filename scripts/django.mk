# Every supported Django, each in a folder of its own before the installed one: two with long support, and the newest that this
# Python takes.
DJANGOS ?= 4.2 5.2 newest

django: $(VENV)/.tools ## the tests of shmchan.contrib.django with every supported version of Django
	@for version in $(DJANGOS); do \
	  folder=build/django-$$version; wanted=Django; \
	  test $$version = newest || wanted="Django~=$$version.0"; \
	  test -d $$folder || $(PIP) install --target $$folder "$$wanted" || exit 1; \
	  PYTHONPATH=$$folder $(BIN)/python -m django --version || exit 1; \
	  DJANGO_FOLDER=$(CURDIR)/$$folder $(BIN)/python -m pytest -q tests/system/test_django.py $(ARGS) || exit 1; \
	done

.PHONY: django
