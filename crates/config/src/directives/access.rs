//! Directives for access control by Python scripts, which run in the Apache children.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.

use std::sync::Arc;

use super::mapping::script;
use crate::directive::{Concern, Directive, Effect, Scope, Setter};

pub const ACCESS_SCRIPT: Directive = Directive {
    name: "WSGIAccessScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAccessScript file [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Refused("Take it out and say who may enter with Require."),
    help: "Let a script decide by the client's host.",
    doc: "The script defines `allow_access(environ, host)`, which returns True, False, or None to \
          leave the decision to others. It runs in the Apache child, so it makes Python start \
          there.",
    example: "<Directory /srv/app>\n    WSGIAccessScript /srv/access.py\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.access_script = Some(Arc::new(script(line)?));
        Ok(())
    }),
};

pub const AUTH_USER_SCRIPT: Directive = Directive {
    name: "WSGIAuthUserScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAuthUserScript file [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Refused("Take it out, with AuthBasicProvider or AuthDigestProvider wsgi, and check passwords with another provider of httpd."),
    help: "Let a script check passwords.",
    doc: "For `AuthBasicProvider wsgi` the script defines `check_password(environ, user, \
          password)`, which returns True, False, a name to use instead, or None for an unknown \
          user. For `AuthDigestProvider wsgi` it defines `get_realm_hash(environ, user, realm)`.",
    example: "<Directory /srv/app>\n    WSGIAuthUserScript /srv/auth.py\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.auth_user_script = Some(Arc::new(script(line)?));
        Ok(())
    }),
};

pub const AUTH_GROUP_SCRIPT: Directive = Directive {
    name: "WSGIAuthGroupScript",
    scope: Scope::AuthConfig,
    usage: "WSGIAuthGroupScript file [application-group=name]",
    default: "none",
    concern: Concern::Restricts,
    effect: Effect::Refused(
        "Take it out, with Require wsgi-group, and say who may enter with another Require.",
    ),
    help: "Let a script say which groups a user is in.",
    doc: "The script defines `groups_for_user(environ, user)`, which returns the names that \
          `Require wsgi-group` compares, without regard to case.",
    example: "<Directory /srv/app>\n    WSGIAuthGroupScript /srv/auth.py\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        dir.auth_group_script = Some(Arc::new(script(line)?));
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
