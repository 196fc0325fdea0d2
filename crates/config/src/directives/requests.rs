//! Directives about how a request and its response are carried.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.

use std::sync::Arc;

use wire::log_id::APACHE_REQUEST_NOT_PASSED;

use crate::directive::{Concern, Directive, Effect, Scope, Setter};
use crate::module_config::MapHead;
use crate::proxies::{ProxyHeader, Subnet};

pub const PASS_AUTHORIZATION: Directive = Directive {
    name: "WSGIPassAuthorization",
    scope: Scope::FileInfo,
    usage: "WSGIPassAuthorization On|Off",
    default: "Off",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Give the Authorization header to the application.",
    doc: "`On` puts the client's credentials into environ as HTTP_AUTHORIZATION, for applications \
          that check them themselves (tokens, Basic). Proxy-Authorization is never passed. \
          `CGIPassAuth On` of httpd does the same.",
    example: "WSGIPassAuthorization On",
    setter: Setter::Directory(|dir, line| {
        dir.pass_authorization = Some(line.on_off()?);
        Ok(())
    }),
};

pub const CHUNKED_REQUEST: Directive = Directive {
    name: "WSGIChunkedRequest",
    scope: Scope::FileInfo,
    usage: "WSGIChunkedRequest On|Off",
    default: "On (mod_wsgi: Off)",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Accept request bodies without a Content-Length.",
    doc:
        "`On` accepts `Transfer-Encoding: chunked`; the application reads to the end of the input, \
          as `wsgi.input_terminated` promises. `Off` answers such requests with 411, which is \
          what mod_wsgi does by default.",
    example: "WSGIChunkedRequest Off",
    setter: Setter::Directory(|dir, line| {
        dir.chunked_request = Some(line.on_off()?);
        Ok(())
    }),
};

pub const MAP_HEAD_TO_GET: Directive = Directive {
    name: "WSGIMapHEADToGET",
    scope: Scope::FileInfo,
    usage: "WSGIMapHEADToGET On|Off|Auto",
    default: "Auto",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Show HEAD requests to the application as GET.",
    doc: "An application that answers HEAD without a body gives output filters (mod_deflate) \
          nothing to work on, and the headers differ from those of GET. `Auto` shows HEAD as GET \
          where such a filter is present, `On` always, `Off` never. The client gets no body in \
          any case.",
    example: "WSGIMapHEADToGET Off",
    setter: Setter::Directory(|dir, line| {
        let word = line.word()?;
        dir.map_head_to_get = Some(match word.to_ascii_lowercase().as_slice() {
            b"on" => MapHead::On,
            b"off" => MapHead::Off,
            b"auto" => MapHead::Auto,
            _ => return Err(line.invalid(&word, "On, Off or Auto")),
        });
        Ok(())
    }),
};

pub const ERROR_OVERRIDE: Directive = Directive {
    name: "WSGIErrorOverride",
    scope: Scope::FileInfo,
    usage: "WSGIErrorOverride On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Replace the application's error pages by Apache's.",
    doc:
        "`On` drops the body of a response whose status is 400 to 599 and lets Apache answer with \
          that status, so that ErrorDocument applies. Daemon mode only.",
    example: "WSGIErrorOverride On",
    setter: Setter::Directory(|dir, line| {
        dir.error_override = Some(line.on_off()?);
        Ok(())
    }),
};

pub const LOCAL_REDIRECT: Directive = Directive {
    name: "WSGILocalRedirect",
    scope: Scope::FileInfo,
    usage: "WSGILocalRedirect On|Off",
    default: "On",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Answer from another local URL where the application says so.",
    doc:
        "`On`: a response with the status 200 and a Location that begins with a slash is answered \
          by Apache from that URL, as a GET: a file that only Apache may read, another \
          application. The response's own body is dropped. Access control of that URL applies. \
          Such an answer that names a local URL again is sent as it is: one hop is allowed. `Off` \
          sends every response as it is. Not in mod_wsgi, which always redirects, without a bound. \
          Daemon mode only.",
    example: "WSGILocalRedirect Off",
    setter: Setter::Directory(|dir, line| {
        dir.local_redirect = Some(line.on_off()?);
        Ok(())
    }),
};

pub const ENABLE_SENDFILE: Directive = Directive {
    name: "WSGIEnableSendfile",
    scope: Scope::FileInfo,
    usage: "WSGIEnableSendfile On|Off",
    default: "that of EnableSendfile where it is set; else On for files on a disk of the machine, \
              Off for others",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Let the kernel copy files of wsgi.file_wrapper.",
    doc: "Whether files that the application returns with `wsgi.file_wrapper` are sent with \
          sendfile(2), which takes a third off the processor time of a large file. Network file \
          systems and folders shared with the host of a virtual machine may send what was in a \
          file before it was changed, so there it takes an `On`.",
    example: "WSGIEnableSendfile Off",
    setter: Setter::Directory(|dir, line| {
        dir.enable_sendfile = Some(line.on_off()?);
        Ok(())
    }),
};

pub const EVENTLET_COMPAT: Directive = Directive {
    name: "WSGIEventletCompat",
    scope: Scope::FileInfo,
    usage: "WSGIEventletCompat On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Give the list of post hooks the name eventlet gives it, too.",
    doc: "A function that an application appends to the list `mod_wsgi.posthooks` of environ, as a \
          tuple `(function, args, kwargs)`, is called as `function(environ, *args, **kwargs)` after \
          the response has been sent or the client has left. `On` puts the same list into environ \
          as `eventlet.posthooks`, for applications and middleware that look for it. Off by \
          default, since some take its presence to mean that they run under eventlet. Its `headers_raw` \
          is not given: httpd has joined the headers of one name before any module sees them.",
    example: "WSGIEventletCompat On",
    setter: Setter::Directory(|dir, line| {
        dir.eventlet_compat = Some(line.on_off()?);
        Ok(())
    }),
};

pub const IGNORE_ACTIVITY: Directive = Directive {
    name: "WSGIIgnoreActivity",
    scope: Scope::FileInfo,
    usage: "WSGIIgnoreActivity On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Do not count these requests as activity.",
    doc: "`On` keeps requests to this place from resetting `inactivity-timeout=` of their group: \
          for the URLs that a monitoring system asks every few seconds.",
    example: "<Location /healthz>\n    WSGIIgnoreActivity On\n</Location>",
    setter: Setter::Directory(|dir, line| {
        dir.ignore_activity = Some(line.on_off()?);
        Ok(())
    }),
};

pub const PASS_APACHE_REQUEST: Directive = Directive {
    name: "WSGIPassApacheRequest",
    scope: Scope::Directory,
    usage: "WSGIPassApacheRequest On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Never("Python runs in no process that has Apache's requests"),
    help: "Accepted, without effect.",
    doc: "In embedded mode of mod_wsgi, `On` puts a capsule with httpd's request record into environ as \
          `apache.request_rec`. Here Python never runs in a process of Apache, so there is none; with \
          `On` the log says so.",
    example: "WSGIPassApacheRequest Off",
    setter: Setter::Directory(|dir, line| {
        let is_on = line.on_off()?;
        if is_on {
            let remark = "WSGIPassApacheRequest On has no effect: Python runs in no process of Apache, so \
                          environ has no apache.request_rec. Take the line out.";
            let remarks = &mut line.reading.numbered_remarks;
            remarks.push((APACHE_REQUEST_NOT_PASSED, line.place.clone(), remark.to_owned()));
        }
        dir.pass_apache_request = Some(is_on);
        Ok(())
    }),
};

pub const TRUSTED_PROXY_HEADERS: Directive = Directive {
    name: "WSGITrustedProxyHeaders",
    scope: Scope::FileInfo,
    usage: "WSGITrustedProxyHeaders header ...",
    default: "none: forwarding headers are passed on unchanged and change nothing",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Headers of a proxy that are believed.",
    doc:
        "Headers that say who the client is and how it asked, and that are to be put into environ \
          as if the client had asked Apache itself. They apply in the order given, later ones over \
          earlier ones. Of a kind of header that is listed, all others are removed; from a client \
          that is no trusted proxy (see WSGITrustedProxies) all are.\n\n\
          Known are:\n\n\
          * client, REMOTE_ADDR: X-Forwarded-For, X-Client-IP, X-Real-IP\n\n\
          * host, HTTP_HOST: X-Forwarded-Host, X-Host\n\n\
          * server, SERVER_NAME: X-Forwarded-Server\n\n\
          * port, SERVER_PORT: X-Forwarded-Port\n\n\
          * mount point, SCRIPT_NAME: X-Script-Name, X-Forwarded-Script-Name\n\n\
          * scheme, wsgi.url_scheme: X-Forwarded-Proto, X-Forwarded-Scheme, X-Scheme (`https` or \
          `http`); X-Forwarded-HTTPS, X-Forwarded-SSL, X-HTTPS (`on` or `off`)\n\n\
          * client, host and scheme: Forwarded (RFC 7239), once it is listed\n\n\
          X-Forwarded-For and Forwarded are read from the right, where the nearest proxy has \
          written: the client is whom the last trusted proxy names, and the application sees the \
          list from there on. Lists of the other headers are read at the same hop. A value that \
          cannot be what it should be (an address such as `unknown`, a port that is no number) \
          changes nothing.\n\n\
          Further lines in the same place add to the list; an inner section replaces the list of \
          an outer one. Without WSGITrustedProxies every client is believed, and the first item \
          of a list.",
    example: "WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Proto",
    setter: Setter::Directory(|dir, line| {
        let mut headers = Vec::new();
        for word in line.words()? {
            let expected = "the name of a header: letters, digits and hyphens";
            headers.push(ProxyHeader::parse(&word).ok_or_else(|| line.invalid(&word, expected))?);
        }
        let list = dir.trusted_proxy_headers.get_or_insert_with(Arc::default);
        Arc::make_mut(list).append(&mut headers);
        Ok(())
    }),
};

pub const TRUSTED_PROXIES: Directive = Directive {
    name: "WSGITrustedProxies",
    scope: Scope::FileInfo,
    usage: "WSGITrustedProxies address[/mask] ...",
    default: "none: every client is believed",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Proxies whose headers are believed.",
    doc: "Addresses and networks, IPv4 or IPv6, from which WSGITrustedProxyHeaders are taken. \
          Whoever asks is judged by its address as httpd has it, after mod_remoteip if that is \
          in use. Further lines in the same place add to the list; an inner section replaces the list of \
          an outer one.",
    example: "WSGITrustedProxies 10.0.0.0/8 2001:db8::/32",
    setter: Setter::Directory(|dir, line| {
        let mut subnets = Vec::new();
        for word in line.words()? {
            let expected = "an IPv4 or IPv6 address or a network such as 10.0.0.0/8";
            subnets.push(Subnet::parse(&word).ok_or_else(|| line.invalid(&word, expected))?);
        }
        Arc::make_mut(dir.trusted_proxies.get_or_insert_with(Arc::default)).append(&mut subnets);
        Ok(())
    }),
};

pub const CASE_SENSITIVITY: Directive = Directive {
    name: "WSGICaseSensitivity",
    scope: Scope::Global,
    usage: "WSGICaseSensitivity On|Off",
    default: "On",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Whether script names that differ in case are different.",
    doc:
        "`Off`, for file systems that fold case, treats `/App` and `/app` as the same script when \
          the application group is named after it. URLs are compared with case in any case.",
    example: "WSGICaseSensitivity On",
    setter: Setter::Global(|global, line| {
        global.case_sensitivity = Some(line.on_off()?);
        Ok(())
    }),
};
