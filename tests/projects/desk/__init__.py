"""A Django project with data bindings."""
