//! `WSGIAccessScript`: whether a client may enter.
//!
//! Runs in: an Apache child, in the hook `access_checker`, for every request and subrequest.

use wire::hook::{Answer, Role};
use wire::log_id::CLIENT_DENIED;
use wire::response::Level;

use config::error::show;
use config::module_config::{DirectoryConfig, ServerConfig};
use httpd::hooks::HookStatus;
use httpd::request::Request;

use super::question::Question;
use crate::child::active_configuration::ActiveConfiguration;
use crate::child::request_log::write_log;

/// The hook. True lets nobody in by itself: other modules may still deny, and users may be asked for.
pub fn check(
    request: Request<'_>,
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &ActiveConfiguration,
) -> HookStatus {
    let Some(script) = &dir.access_script else {
        return HookStatus::DECLINED;
    };
    let host = request.remote_host().or(request.useragent_ip());
    let question = Question {
        request,
        script,
        role: Role::Access,
        arguments: &[host.unwrap_or_default()],
    };
    let denied = match question.ask(dir, server, active) {
        Ok(answer) => match answer.read() {
            Some(Answer::True) => return HookStatus::OK,
            Some(Answer::None) => return HookStatus::DECLINED,
            Some(Answer::False) => 403,
            _ => question.is_misunderstood(403),
        },
        // The script has no answer, as its log says.
        Err(500) => 403,
        Err(status) => status,
    };
    if denied == 403 && !request.may_be_satisfied_otherwise() {
        let text = format!(
            "{CLIENT_DENIED}: Client denied by server configuration: '{}'. {} of WSGIAccessScript says so, \
             or has no answer.",
            show(request.filename().unwrap_or_default()),
            show(&script.path),
        );
        write_log(request, Level::Error, text.as_bytes());
    }
    HookStatus::status(denied)
}
