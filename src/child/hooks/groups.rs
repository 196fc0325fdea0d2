//! `WSGIAuthGroupScript`: whether the user is in one of the groups of `Require wsgi-group`.
//!
//! Runs in: an Apache child, as a provider of mod_authz_core.

use wire::hook::{Answer, Role};
use wire::log_id::{GROUP_SCRIPT_NOT_GIVEN, USER_IN_NO_GROUP, USER_NOT_IN_GROUP};
use wire::response::Level;

use config::error::show;
use config::module_config::{DirectoryConfig, ServerConfig};
use config::words::words;
use httpd::authentication::Authorization;
use httpd::request::Request;

use super::question::Question;
use crate::child::active_configuration::ActiveConfiguration;
use crate::child::request_log::write_log;

/// Checks the user of `request`. `line` is what follows `Require wsgi-group`.
pub fn check(
    request: Request<'_>,
    line: &[u8],
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &ActiveConfiguration,
) -> Authorization {
    let Some(user) = request.user() else {
        return Authorization::NeedsUser;
    };
    let Some(script) = &dir.auth_group_script else {
        let text = format!(
            "{GROUP_SCRIPT_NOT_GIVEN}: Require wsgi-group is in effect, and no WSGIAuthGroupScript."
        );
        write_log(request, Level::Error, text.as_bytes());
        return Authorization::Failed;
    };
    let question = Question {
        request,
        script,
        role: Role::Groups,
        arguments: &[user],
    };
    let Ok(answer) = question.ask(dir, server, active) else {
        return Authorization::Failed;
    };
    let Some(Answer::Names(names)) = answer.read() else {
        return question.is_misunderstood(Authorization::Failed);
    };
    let required = words(line);
    let is_member = |group: &Vec<u8>| names.iter().any(|name| name.eq_ignore_ascii_case(group));
    if required.iter().any(is_member) {
        return Authorization::Granted;
    }
    let (id, what) = match names.is_empty() {
        true => (USER_IN_NO_GROUP, "any groups"),
        false => (USER_NOT_IN_GROUP, "designated groups"),
    };
    // Other lines may yet let the user in: whether the request is denied is httpd's to say.
    let text = format!(
        "{id}: Authorization of user '{}' to access '{}' failed. User is not a member of {what}.",
        show(user),
        show(request.uri().unwrap_or_default()),
    );
    write_log(request, Level::Info, text.as_bytes());
    Authorization::Denied
}
