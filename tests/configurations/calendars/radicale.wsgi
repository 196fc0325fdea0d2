import os

HERE = os.path.dirname(__file__)
os.environ["RADICALE_CONFIG"] = os.path.join(HERE, "config")
os.chdir(HERE)

from radicale import application  # noqa: E402, F401
