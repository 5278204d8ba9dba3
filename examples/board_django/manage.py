#!/usr/bin/env python
"""
The board of ``examples/board``, as a Django project with its admin. Needs ``pip install shmchan[django]``::

    cd examples/board_django
    python manage.py migrate
    python manage.py createsuperuser
    python manage.py runserver

Then open http://127.0.0.1:8000/ in two windows, and http://127.0.0.1:8000/admin/ in a third.
"""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
