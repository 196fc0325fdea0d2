//! `WSGIAuthUserScript`: whether a password is right, and the hash that Digest compares with.
//!
//! Runs in: an Apache child, as the provider `wsgi` of mod_auth_basic and mod_auth_digest.

use wire::hook::{Answer, Role};
use wire::log_id::{DIGEST_SCRIPT_NOT_GIVEN, PASSWORD_SCRIPT_NOT_GIVEN};
use wire::response::Level;

use config::module_config::{DirectoryConfig, ServerConfig};
use httpd::authentication::{Authentication, RealmHash};
use httpd::request::Request;

use super::question::Question;
use crate::child::active_configuration::ActiveConfiguration;
use crate::child::request_log::write_log;

/// Checks the password of `user`. The script may give the user another name.
pub fn check_password(
    request: Request<'_>,
    (user, password): (&[u8], &[u8]),
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &ActiveConfiguration,
) -> Authentication {
    let Some(script) = &dir.auth_user_script else {
        let text = format!(
            "{PASSWORD_SCRIPT_NOT_GIVEN}: AuthBasicProvider wsgi is in effect, and no WSGIAuthUserScript."
        );
        write_log(request, Level::Error, text.as_bytes());
        return Authentication::Failed;
    };
    let question = Question {
        request,
        script,
        role: Role::Password,
        arguments: &[user, password],
    };
    let Ok(answer) = question.ask(dir, server, active) else {
        return Authentication::Failed;
    };
    match answer.read() {
        Some(Answer::True) => Authentication::Granted,
        Some(Answer::False) => Authentication::Denied,
        Some(Answer::None) => Authentication::UserNotFound,
        Some(Answer::Text(name)) if !name.is_empty() && request.set_user(name).is_ok() => {
            Authentication::Granted
        }
        _ => question.is_misunderstood(Authentication::Failed),
    }
}

/// Looks for the hash of `user` in `realm`, and gives it to `found`.
pub fn realm_hash(
    request: Request<'_>,
    (user, realm): (&[u8], &[u8]),
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &ActiveConfiguration,
    found: impl FnOnce(RealmHash<'_>),
) {
    let Some(script) = &dir.auth_user_script else {
        let text = format!(
            "{DIGEST_SCRIPT_NOT_GIVEN}: AuthDigestProvider wsgi is in effect, and no WSGIAuthUserScript."
        );
        write_log(request, Level::Error, text.as_bytes());
        return found(RealmHash::Failed);
    };
    let question = Question {
        request,
        script,
        role: Role::RealmHash,
        arguments: &[user, realm],
    };
    let Ok(answer) = question.ask(dir, server, active) else {
        return found(RealmHash::Failed);
    };
    found(match answer.read() {
        Some(Answer::None) => RealmHash::UserNotFound,
        Some(Answer::Text(hash)) if !hash.is_empty() => RealmHash::Found(hash),
        _ => question.is_misunderstood(RealmHash::Failed),
    });
}
