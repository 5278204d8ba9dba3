"""Measurements of shmchan beside its rivals: `suite` has the benchmarks, and ``shmchan bench`` runs and prints them."""
