import os

from wsgidav.wsgidav_app import WsgiDAVApp

application = WsgiDAVApp({
    "mount_path": "/dav",
    "provider_mapping": {"/": os.path.join(os.path.dirname(__file__), "files")},
    "simple_dc": {"user_mapping": {"*": {"ann": {"password": "tea"}}}},
    "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
    "lock_storage": True,
    "verbose": 1,
})
