//! Directives about figures and reports.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::sync::Arc;
use std::time::Duration;

use crate::directive::{Concern, Directive, Effect, Line, Scope, Setter};
use crate::error::{Invalid, Problem};
use crate::module_config::{GlobalConfig, TelemetryService};
use crate::words::next_pair;

pub const SERVER_METRICS: Directive = Directive {
    name: "WSGIServerMetrics",
    scope: Scope::Global,
    usage: "WSGIServerMetrics On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Never("a process that runs Python shares no memory with Apache"),
    help: "Let applications read Apache's scoreboard (embedded mode).",
    doc: "In embedded mode of mod_wsgi, whether applications may call `mod_wsgi.server_metrics()`. Here \
          that always gives None; the handlers `server-status` and `wsgi-status` show administrators \
          what is going on.",
    example: "WSGIServerMetrics On",
    setter: Setter::Global(|global, line| {
        global.server_metrics = Some(line.on_off()?);
        Ok(())
    }),
};

pub const TELEMETRY_SERVICE: Directive = Directive {
    name: "WSGITelemetryService",
    scope: Scope::Global,
    usage: "WSGITelemetryService unix:/path [interval=seconds]",
    default: "none",
    concern: Concern::Manner,
    effect: Effect::Later,
    help: "Socket of a service that collects figures.",
    doc: "Each process sends its figures to this datagram socket, once a second or as `interval=` \
          says (0.5 seconds at the least).",
    example: "WSGITelemetryService unix:/run/telemetry.sock interval=5",
    setter: Setter::Global(telemetry_service),
};

pub const TELEMETRY_OPTIONS: Directive = Directive {
    name: "WSGITelemetryOptions",
    scope: Scope::Global,
    usage: "WSGITelemetryOptions None|All|[+|-]CaptureUserAgent ...",
    default: "None",
    concern: Concern::Manner,
    effect: Effect::Later,
    help: "What reports of slow requests contain.",
    doc: "`CaptureUserAgent` adds the client's User-Agent. A sign adds the flag to, or takes it \
          from, what earlier lines said; without a sign the line says everything anew.",
    example: "WSGITelemetryOptions +CaptureUserAgent",
    setter: Setter::Global(telemetry_options),
};

pub const SLOW_REQUESTS: Directive = Directive {
    name: "WSGISlowRequests",
    scope: Scope::Global,
    usage: "WSGISlowRequests seconds",
    default: "off",
    concern: Concern::Manner,
    effect: Effect::Later,
    help: "Report requests that take longer than this.",
    doc: "Requests that take longer are reported to the telemetry service. 0 reports none.",
    example: "WSGISlowRequests 2.5",
    setter: Setter::Global(|global, line| {
        let word = line.word()?;
        let limit = seconds(&word).ok_or_else(|| line.invalid(&word, "seconds, 0 or more"))?;
        global.slow_requests = Some(limit);
        Ok(())
    }),
};

pub const VERBOSE_DEBUGGING: Directive = Directive {
    name: "WSGIVerboseDebugging",
    scope: Scope::Global,
    usage: "WSGIVerboseDebugging On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Never("it does nothing in mod_wsgi 6.1.1 either"),
    help: "Accepted, without effect.",
    doc: "Without effect in mod_wsgi as well, whose command-line server still writes it.",
    example: "WSGIVerboseDebugging Off",
    setter: Setter::Global(|_, line| line.on_off().map(drop)),
};

fn telemetry_service(global: &mut GlobalConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    let (target, rest) = line.first_word()?;
    let socket = target
        .strip_prefix(b"unix:")
        .filter(|path| path.first() == Some(&b'/'));
    let Some(socket) = socket else {
        return Err(line.invalid(&target, "unix: and the absolute path of a socket"));
    };
    let mut interval = Duration::from_secs(1);
    let unknown = |word| line.unknown_option(word, ["interval"]);
    let mut rest = rest;
    while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
        if pair.option != b"interval" {
            return Err(unknown([pair.option, pair.value].join(&b'=')));
        }
        let given = seconds(&pair.value).filter(|&given| given >= Duration::from_millis(500));
        let Some(given) = given else {
            let expected = "seconds, 0.5 or more".into();
            let value = pair.value;
            return Err(line.refuse(Problem::OptionValue {
                option: "interval",
                value,
                expected,
            }));
        };
        interval = given;
        rest = after;
    }
    global.telemetry_service = Some(Arc::new(TelemetryService {
        socket: socket.to_vec(),
        interval,
    }));
    Ok(())
}

fn telemetry_options(global: &mut GlobalConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    let words = line.words()?;
    let signed = |word: &[u8]| matches!(word[0], b'+' | b'-');
    if words.iter().any(|word| signed(word)) && !words.iter().all(|word| signed(word)) {
        let sentence = "flags with a sign and flags without cannot stand in one line.";
        return Err(line.refuse(Problem::Because(sentence.into())));
    }
    // There is one flag, so a line without signs says everything by saying it.
    let mut capture = global.capture_user_agent.unwrap_or(false);
    for word in &words {
        let (sign, flag) = match word[0] {
            b'+' | b'-' => (Some(word[0]), &word[1..]),
            _ => (None, &word[..]),
        };
        capture = if flag.eq_ignore_ascii_case(b"CaptureUserAgent") {
            sign != Some(b'-')
        } else if sign.is_none() && flag.eq_ignore_ascii_case(b"All") {
            true
        } else if sign.is_none() && flag.eq_ignore_ascii_case(b"None") {
            false
        } else {
            return Err(line.invalid(word, "CaptureUserAgent with or without a sign, None or All"));
        };
    }
    global.capture_user_agent = Some(capture);
    Ok(())
}

/// Seconds with decimals, 0 or more.
fn seconds(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
