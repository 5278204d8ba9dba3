"""``runserver``, ``runworker`` and ``rundelay``."""
