"""The Django project: settings and urls."""
