import os

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

# What the hooks call; it needs Django to be set up.
from django.contrib.auth.handlers.modwsgi import check_password, groups_for_user  # noqa: E402, F401
