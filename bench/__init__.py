"""Measurements of shmchan beside its rivals: ``shmchan bench``. One module, one question; `shmchan.cli.bench` runs and prints them."""
