"""A Django project with sessions, forms, files and the admin: served by ``shmchan run shelf.wsgi`` in tests."""
