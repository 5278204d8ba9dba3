"""The settings of a project as ``startproject`` makes it, and what shmchan needs: the app, first, and ``SHMCHAN``."""

import os
from pathlib import Path

from shmchan import js

FOLDER = Path(__file__).resolve().parents[1]
SECRET_KEY = os.environ.get("BOARD_SECRET", "for development only")
DEBUG = os.environ.get("BOARD_DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("BOARD_HOSTS", "127.0.0.1,localhost").split(",")
FORCE_SCRIPT_NAME = os.environ.get("BOARD_PREFIX") or None
SHMCHAN = {"NAME": "board-django", "ROUTING": "cards.routing.channel_routing", "WORKERS": 2, "MEMORY": "32MiB"}

INSTALLED_APPS = [
    "shmchan.contrib.django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "cards",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "project.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BOARD_DB", FOLDER / "board.sqlite3"),
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "static/"
STATICFILES_DIRS = [FOLDER.parent / "board" / "page", js.FOLDER]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "board"
LOGOUT_REDIRECT_URL = "login"
