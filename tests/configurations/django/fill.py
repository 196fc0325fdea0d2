"""Makes the database: an agent, one who is no agent, and one who has left."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)
agents = Group.objects.create(name="secret-agents")
User.objects.create_user("bond", password="shaken").groups.add(agents)
User.objects.create_user("clerk", password="stirred")
User.objects.create_user("retired", password="old", is_active=False).groups.add(agents)
