"""Programs that show shmchan: ``examples.echo`` and ``examples.chat``, each run by ``shmchan run examples.NAME``."""
