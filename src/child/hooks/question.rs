//! One question to a script and its answer, over the way that requests take: the connection pool,
//! another attempt where no script has seen the question, and the limits of the process group.
//!
//! Runs in: an Apache child, on the thread that serves the request.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use wire::hook::{append_arguments, Answer, Role};
use wire::log_id::{ANSWER_MISPLACED, GROUP_NOT_FOR_HTACCESS, QUESTION_TOO_LONG};
use wire::request::{Builder, Flags, Prologue};
use wire::response::{Head, Level};

use config::error::{show, show_group};
use config::expand::Template;
use config::jail;
use config::module_config::{DirectoryConfig, ScriptConfig, ServerConfig};
use httpd::request::Request;

use crate::child::active_configuration::{limits, ActiveConfiguration, GroupEndpoint};
use crate::child::connect::dialer::Dialer;
use crate::child::environ::facts::HttpdRequestFacts;
use crate::child::environ::hook::{self, HookFacts};
use crate::child::environ::{self, EnvironFacts};
use crate::child::relay::client::{BodyRead, BodySource, Client, FileSent, Gone, Step};
use crate::child::relay::failure::RelayFailure;
use crate::child::relay::response_body::PassedFile;
use crate::child::relay::response_head::ResponseHead;
use crate::child::relay::upload::Upload;
use crate::child::relay::{self, RelayOutcome, RelayRequest};
use crate::child::request_log::write_log_of;
use crate::child::request_trace::RequestTrace;
use crate::child::route::dispatch::{self, Host};
use crate::child::route::rejection::Rejection;
use crate::child::supervisor::worker_death;

/// A question, and whose.
pub struct Question<'r, 'a> {
    pub request: Request<'r>,
    pub script: &'a ScriptConfig,
    pub role: Role,
    /// What the function is called with besides the environ.
    pub arguments: &'a [&'a [u8]],
}

/// An answer as it came, overwritten when it is done with: it may be a secret.
pub struct Answered(Vec<u8>);

impl Answered {
    /// What it says; `None` where it is no answer.
    pub fn read(&self) -> Option<Answer<'_>> {
        Answer::decode(&self.0).ok()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        os::memory::wipe(&mut self.0);
    }
}

/// The message to the worker, overwritten as well: it may hold a password.
struct Message(Vec<u8>);

impl Drop for Message {
    fn drop(&mut self) {
        os::memory::wipe(&mut self.0);
    }
}

impl Question<'_, '_> {
    /// Asks. The error is the status of a request to which there is no answer; why has been logged. 500
    /// is the script's fault, or the configuration's.
    pub fn ask(
        &self,
        dir: &DirectoryConfig,
        server: &ServerConfig,
        active: &ActiveConfiguration,
    ) -> Result<Answered, u16> {
        self.ask_about(None, dir, server, active)
    }

    /// As [`Question::ask`], with the environ that an application would get if there is `environ`.
    #[inline(never)]
    pub fn ask_about(
        &self,
        environ: Option<&EnvironFacts<'_>>,
        dir: &DirectoryConfig,
        server: &ServerConfig,
        active: &ActiveConfiguration,
    ) -> Result<Answered, u16> {
        self.try_to_ask(environ, dir, server, active)
            .map_err(|status| match status {
                // Whatever a worker makes of a question, only a failure comes of it.
                500..=599 => status,
                _ => 500,
            })
    }

    fn try_to_ask(
        &self,
        environ: Option<&EnvironFacts<'_>>,
        dir: &DirectoryConfig,
        server: &ServerConfig,
        active: &ActiveConfiguration,
    ) -> Result<Answered, u16> {
        let request = self.request;
        let rejected = |rejection: Rejection| {
            self.complain(&rejection.to_string());
            500_u16
        };
        let name = &self.script.process_group[..];
        if !self.may_ask(dir, server, name) {
            self.complain(&format!(
                "{GROUP_NOT_FOR_HTACCESS}: an .htaccess has a script run in process group '{}', whose \
                 processes it may not use: WSGIRestrictProcess does not list it for this place.",
                show_group(name)
            ));
            return Err(500);
        }
        let host = Host::of(request);
        let group = dispatch::usable_group(name, &active.groups, host).map_err(rejected)?;
        let endpoint = active
            .endpoints
            .get(&group.process_group.name[..])
            .ok_or(500_u16)?;
        let chroot = group.process_group.environment.chroot.as_deref();
        let reloads = dir
            .script_reloading
            .or(server.directory.script_reloading)
            .unwrap_or(true);
        let message = self.message(
            environ,
            active,
            endpoint,
            chroot,
            &group.process_group.name,
            reloads,
        )?;
        let mut dialer = Dialer {
            path: &endpoint.path,
            pool: &endpoint.pool,
        };
        let mut client = AskingClient {
            question: self,
            status_socket: active.status.as_deref(),
            group: &group.process_group.name,
            begun: os::clock::monotonic(),
            answer: Answered(Vec::new()),
            trace: RequestTrace::of(request),
        };
        let relay_request = RelayRequest {
            group: &group.process_group.name,
            message: &message.0,
            upload: Upload::whole(),
            head_only: false,
            error_override: false,
            may_redirect: false,
            limits: limits(group, request.server().timeout()),
            spool: active.spool(group, 0),
        };
        let outcome = relay::relay_request(&mut dialer, &mut client, relay_request);
        if let Some(trace) = &client.trace {
            trace.end(&outcome);
        }
        match outcome {
            RelayOutcome::Complete(_) => Ok(client.answer),
            RelayOutcome::Status(status) => Err(status),
            RelayOutcome::Broken | RelayOutcome::Gone | RelayOutcome::Redirect(_) => Err(500),
        }
    }

    /// Whoever writes an `.htaccess` may use those groups that `WSGIRestrictProcess` lists for its
    /// place; without a list only the server's own group, as Apache's children ran such scripts with
    /// mod_wsgi.
    fn may_ask(&self, dir: &DirectoryConfig, server: &ServerConfig, name: &[u8]) -> bool {
        if !self.script.in_htaccess {
            return true;
        }
        let outer = &server.directory;
        let listed = dir
            .restrict_process
            .as_ref()
            .or(outer.restrict_process.as_ref());
        match listed {
            Some(names) => names.iter().any(|listed| listed.eq_ignore_ascii_case(name)),
            None => name.is_empty(),
        }
    }

    fn message(
        &self,
        environ: Option<&EnvironFacts<'_>>,
        active: &ActiveConfiguration,
        endpoint: &GroupEndpoint,
        chroot: Option<&[u8]>,
        process_group: &[u8],
        reloads: bool,
    ) -> Result<Message, u16> {
        let request = self.request;
        let path = &self.script.path;
        let script = match chroot {
            None => path,
            Some(root) => jail::inside(root, path).ok_or_else(|| {
                let outside = Rejection::OutsideChroot(path.to_vec(), root.to_vec());
                self.complain(&outside.to_string());
                500_u16
            })?,
        };
        let facts = HttpdRequestFacts::of(request, None, active.globals.case_sensitive);
        let application_group = self.script.application_group.as_ref();
        let application_group = application_group.unwrap_or(&Template::Global);
        let application_group = application_group.expand_for_script(&facts);
        let reload = if reloads { Flags::RELOAD } else { 0 };
        let prologue = Prologue {
            flags: Flags(Flags::BODY_WHOLE | Flags::KEEP | Flags::HTTP_1_0 | reload),
            role: self.role,
            key: endpoint.key,
            request_start: u64::try_from(request.time_micros()).unwrap_or(0),
            queue_start: os::clock::epoch_us(),
            sent: os::clock::monotonic_us(),
            content_length: None,
            script,
            application_group: &application_group,
            callable: self.role.function().as_bytes(),
        };
        let hook_facts = HookFacts {
            process_group,
            application_group: &application_group,
            chroot,
        };
        let mut arguments = Message(Vec::with_capacity(
            self.arguments.iter().map(|a| a.len() + 2).sum(),
        ));
        // With room for all, so that no copy stays where a buffer was that became too small.
        let mut out = Message(Vec::with_capacity(
            hook::most_bytes(request) + arguments.0.capacity(),
        ));
        let written = append_arguments(&mut arguments.0, self.arguments).and_then(|()| {
            let mut builder = Builder::new(&mut out.0, &prologue)?;
            match environ {
                None => hook::write(&mut builder, request, &hook_facts)?,
                Some(facts) => {
                    let headers = request.headers_in().iter();
                    environ::write(
                        &mut builder,
                        facts,
                        headers,
                        request.subprocess_env().iter(),
                    )?;
                }
            }
            builder.finish(&arguments.0)
        });
        match written {
            Ok(()) => Ok(out),
            Err(_) => {
                self.complain(&format!(
                    "{QUESTION_TOO_LONG}: The headers of the request, or the name or the password of its user, \
                     are too long for a question to {}.",
                    show(path)
                ));
                Err(500)
            }
        }
    }

    /// Says that an answer came that is none to this question, and returns what follows of that.
    pub fn is_misunderstood<R>(&self, failed: R) -> R {
        self.complain(&format!(
            "{ANSWER_MISPLACED}: A worker of process group '{}' has sent an answer that is none to {}().",
            show_group(&self.script.process_group),
            self.role.function(),
        ));
        failed
    }

    fn complain(&self, text: &str) {
        write_log_of(
            self.request,
            &self.script.path,
            Level::Error,
            text.as_bytes(),
        );
    }
}

/// The client of a question, in the place of httpd's: it takes an answer and nothing else.
struct AskingClient<'q, 'r> {
    question: &'q Question<'r, 'q>,
    status_socket: Option<&'q [u8]>,
    group: &'q [u8],
    begun: Duration,
    answer: Answered,
    trace: Option<Box<RequestTrace<'r>>>,
}

impl BodySource for AskingClient<'_, '_> {
    fn read_body(&mut self, _at_most: usize, _into: &mut Vec<u8>) -> BodyRead {
        BodyRead::Last
    }

    fn wait_for_body(&self, _limit: Duration, _pause: Duration) {}
}

impl Client for AskingClient<'_, '_> {
    /// Whether the client is still there is no matter of a question.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn room(&self) -> Option<usize> {
        None
    }

    fn is_gone(&self) -> bool {
        self.question.request.connection().is_aborted()
    }

    fn bytes_sent(&self) -> u64 {
        0
    }

    fn interim(&mut self, _head: &Head<'_>) {}

    fn head(&mut self, _head: &ResponseHead<'_>) {}

    fn error_head(&mut self, _head: &ResponseHead<'_>) {}

    fn data(&mut self, _pieces: &[&[u8]], _is_last: bool) -> Result<(), Gone> {
        Err(Gone)
    }

    fn file(
        &mut self,
        _file: PassedFile,
        _offset: u64,
        _len: u64,
        _is_last: bool,
    ) -> Result<FileSent, Gone> {
        Err(Gone)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        Err(Gone)
    }

    fn break_off(&mut self) {}

    fn abandon(&mut self) {}

    fn asks(&self) -> bool {
        true
    }

    fn answer(&mut self, payload: &[u8]) {
        self.answer = Answered(payload.to_vec());
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        let question = self.question;
        write_log_of(question.request, &question.script.path, level, text);
    }

    fn trace(&mut self, step: Step) {
        if let Some(trace) = &mut self.trace {
            trace.step(step);
        }
    }

    fn report(&mut self, failure: &RelayFailure) {
        let witness = self.status_socket.filter(|_| failure.is_of_death());
        let how = witness.and_then(|socket| {
            worker_death::how_a_worker_died(socket, self.group, self.begun, false)
        });
        let mut text = failure.text.clone();
        if let Some(how) = how {
            text.push_str(&format!(" The supervisor says: {how}."));
        }
        self.log(failure.level, text.as_bytes());
    }
}
