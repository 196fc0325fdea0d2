import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from yourapplication import app as application  # noqa: E402, F401
