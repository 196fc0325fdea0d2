//! Directives for access control by Python scripts.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.

use std::sync::Arc;

use super::mapping::hook_script;
use crate::directive::{Concern, Directive, Effect, Scope, Setter};

pub const ACCESS_SCRIPT: Directive = Directive {
    name: "WSGIAccessScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAccessScript file [process-group=name] [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Let a script decide by the client's host.",
    doc: "The script defines `allow_access(environ, host)`, which returns True, False, or None to \
          leave the decision to others. *host* is the client's name where `HostnameLookups` finds \
          one, else its address. True lets nobody in whom `Require` keeps out. Anything else that \
          the function returns, an exception, and a script that cannot be loaded are 403; a worker \
          that does not answer within the limits of its group is 503 or 504.\n\n\
          The script runs in a worker of the process group that `process-group=` names, as the \
          user of that group and with its limits, and never inside of Apache. Without the option \
          it runs in the server's own group (`%{GLOBAL}`), as Apache's user. In an `.htaccess` \
          the group must be one that `WSGIRestrictProcess` lists for the place; where there is no \
          list, it is the server's own.\n\n\
          See [Access and authentication](../guides/access-and-authentication.md).",
    example:
        "<Directory /srv/app>\n    WSGIAccessScript /srv/access.py process-group=auth\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.access_script = Some(Arc::new(hook_script(line)?));
        Ok(())
    }),
};

pub const AUTH_USER_SCRIPT: Directive = Directive {
    name: "WSGIAuthUserScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAuthUserScript file [process-group=name] [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Let a script check passwords.",
    doc: "For `AuthBasicProvider wsgi` the script defines `check_password(environ, user, \
          password)`, which returns True, False, a name to use instead, or None for an unknown \
          user. For `AuthDigestProvider wsgi` it defines `get_realm_hash(environ, user, realm)`, \
          which returns the MD5 of `user:realm:password` in hexadecimal digits, or None. Anything \
          else, an exception, and a worker that does not answer are 500.\n\n\
          `process-group=` names the process group that runs the script, whose user may be one of \
          its own: see [WSGIAccessScript](WSGIAccessScript.md) and \
          [Access and authentication](../guides/access-and-authentication.md). Passwords are in no \
          log and on no status page.",
    example:
        "<Directory /srv/app>\n    WSGIAuthUserScript /srv/auth.py process-group=auth\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.auth_user_script = Some(Arc::new(hook_script(line)?));
        Ok(())
    }),
};

pub const AUTH_GROUP_SCRIPT: Directive = Directive {
    name: "WSGIAuthGroupScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAuthGroupScript file [process-group=name] [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Let a script say which groups a user is in.",
    doc: "The script defines `groups_for_user(environ, user)`, which returns the names that \
          `Require wsgi-group` compares, without regard to case. Anything else, an exception, and \
          a worker that does not answer are 500, also behind `Require not`.\n\n\
          `process-group=` names the process group that runs the script: see \
          [WSGIAccessScript](WSGIAccessScript.md) and \
          [Access and authentication](../guides/access-and-authentication.md).",
    example: "<Directory /srv/app>\n    WSGIAuthGroupScript /srv/auth.py process-group=auth\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.auth_group_script = Some(Arc::new(hook_script(line)?));
        Ok(())
    }),
};

pub const GROUP_AUTHORITATIVE: Directive = Directive {
    name: "WSGIGroupAuthoritative",
    scope: Scope::AuthConfig,
    usage: "WSGIGroupAuthoritative On|Off",
    default: "On",
    concern: Concern::Manner,
    effect: Effect::Never("httpd 2.4 decides that with its Require containers"),
    help: "Accepted; httpd 2.4 has Require containers for this.",
    doc: "Meant something for httpd 2.2. Use `<RequireAll>` and `<RequireAny>`.",
    example: "<Directory /srv/app>\n    WSGIGroupAuthoritative Off\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.group_authoritative = Some(line.on_off()?);
        Ok(())
    }),
};
