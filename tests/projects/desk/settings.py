"""As small as it goes: nothing is kept in files, and there are no views."""

SECRET_KEY = "a key for tests"
ALLOWED_HOSTS = ["example.org", ".example.com"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # tests wait for no good one
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "shmchan.contrib.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "desk",
]
SESSION_COOKIE_NAME = "desk-session"
SHMCHAN = {"NAME": "desk"}
