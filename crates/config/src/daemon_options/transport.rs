//! How a request gets to a process, and its response back.
//!
//! Runs in: the Apache parent while the configuration is read.

use super::{DaemonOption, OptionValue};
use crate::directive::Effect::Now;
use crate::error::Invalid;

/// Bytes of a request body that are waited for before a worker is asked.
pub const DEFAULT_REQUEST_BUFFER: u64 = 64 * 1024;
/// Most of them: with an environ of the largest size they still are one message.
const MOST_REQUEST_BUFFER: u64 = 8 * 1024 * 1024;
/// Bytes of a response that wait in a child for a client that does not take them.
pub const DEFAULT_RESPONSE_BUFFER: u64 = 1024 * 1024;
/// Bytes of a response that wait in a temporary file. As nginx has it.
pub const DEFAULT_RESPONSE_SPOOL: u64 = 1 << 30;
/// Bytes of a request body that wait in a temporary file. As many as `LimitRequestBody` lets through
/// by default, so that every body that comes in may wait.
pub const DEFAULT_REQUEST_SPOOL: u64 = 1 << 30;
/// A smaller temporary file than this is not worth it.
const LEAST_SPOOL: u64 = 1 << 20;
/// Longest line of a response head.
pub const DEFAULT_HEADER_BUFFER: u64 = 32768;

pub const OPTIONS: &[DaemonOption] = &[
    DaemonOption {
        name: "connect-timeout",
        value: "seconds",
        default: "15",
        effect: Now,
        doc: "Time Apache tries to reach the group; then the client gets 503.",
        set: |options, value| {
            options.connect_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "socket-timeout",
        value: "seconds",
        default: "0: Apache's Timeout",
        effect: Now,
        doc: "Time a single read or write between Apache and the process may take; the client \
              gets 504 when it passes before the response has begun.",
        set: |options, value| {
            options.socket_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "queue-timeout",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Time a request may wait for a thread. One that waited longer is answered with 504 \
              when a thread takes it up, and not run.",
        set: |options, value| {
            options.queue_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-socket-timeout",
        value: "seconds",
        default: "0: as socket-timeout",
        effect: Now,
        doc:
            "Time a client may take nothing of its response while the process is still sending it: \
              then its connection is closed and the process is free. What is left when the \
              process is done, Apache sends by itself, within its own Timeout.",
        set: |options, value| {
            options.response_socket_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "request-buffer-size",
        value: "bytes, up to 8388608",
        default: "65536",
        effect: Now,
        doc: "How much of a request body Apache reads into memory before it asks a process, so \
              that a client that sends slowly takes no thread. The rest of a longer body is read \
              when the application reads, or before that, into a temporary file, where the client \
              is slow (`request-spool-size=`). Nothing is read before the application reads where \
              the client waits for `100 Continue`. With 0 nothing is read before. The memory is \
              taken for each request that has a body, for as long as it is read. Not in mod_wsgi.",
        set: |options, value| {
            let size = value.bytes(0)?;
            let fits = size <= MOST_REQUEST_BUFFER;
            let expected = "0 to 8388608 bytes";
            options.request_buffer_size = Some(size);
            fits.then_some(()).ok_or_else(|| value.invalid(expected))
        },
    },
    DaemonOption {
        name: "request-spool-size",
        value: "bytes, 0 or 1048576 and more",
        default: "1073741824",
        effect: Now,
        doc: "How much of a request body Apache reads into a temporary file (`spool-directory=`) \
              before it asks a process, where the client sends it slowly. So a slow upload takes \
              no thread: the application is asked when the body is whole, and reads it as fast as \
              it can. A body whose rest comes within about a second, judged by how its first \
              128 KiB came, goes to no file and is read when the application reads. The default \
              is that of LimitRequestBody, so that every body that Apache lets through may wait. \
              A body that is longer, or finds no room, is read when the application reads, and a \
              slow client then takes a thread for as long as Timeout and RequestReadTimeout \
              (mod_reqtimeout) let it. So does one that waits for `100 Continue`, since it gets \
              that when the application reads. A client that sends nothing for five seconds, or \
              for one where it does not say how long its body is (chunked), may be waiting for \
              the response: the application is asked then. With 0 there are no such files, and a \
              chunked body is never waited for: set it where clients and the application have a \
              conversation within one request. For the bounds of all files together see \
              `response-spool-size=`. Not in mod_wsgi.",
        set: |options, value| {
            options.request_spool_size = Some(spool(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-buffer-size",
        value: "bytes, 0 or 65536 and more",
        default: "0: 1048576 (mod_wsgi: 8388608)",
        effect: Now,
        doc: "How much of a response Apache takes from a process for a client that does not take \
              it as quickly. A response that fits frees its thread at once, however slow the \
              client; of a longer one the thread waits for the client once so much is held. The \
              memory is taken only while the client is behind; it is at most this much for each \
              request, so `MaxRequestWorkers` times this much in all, beside what the kernel holds \
              for the connection. Over HTTP/2 it is taken as long as the application delivers \
              without a pause of `response-flush-delay=`. In mod_wsgi this many bytes make a \
              flush, and the thread waits for the client.",
        set: |options, value| {
            options.response_buffer_size = Some(value.bytes(65536)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-spool-size",
        value: "bytes, 0 or 1048576 and more",
        default: "1073741824",
        effect: Now,
        doc: "How much of a response Apache takes from a process into a temporary file \
              (`spool-directory=`) for a client that does not take it as quickly, once \
              `response-buffer-size=` is used up. Only a client that holds the thread up for \
              more than a tenth of a second costs a file. At this many bytes the thread waits \
              for the client, and goes on with what the client has taken. The files of one of Apache's children are \
              bounded, too: 4 GiB in all, and together with files that applications hand over a quarter of the \
              descriptors it may have, and they leave a twentieth of the file system free. Files that the application hands \
              over, and responses over HTTP/2, do not go there. 0 turns it off. Not in mod_wsgi.",
        set: |options, value| {
            options.response_spool_size = Some(spool(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "spool-directory",
        value: "absolute path",
        default: "TMPDIR of Apache, else /var/tmp, else /tmp",
        effect: Now,
        doc: "Where the temporary files of `response-spool-size=` and `request-spool-size=` are \
              made. They have no name, so they are gone with their request, however that ends. \
              The user of Apache's children (`User`) must be able to write there. A directory in \
              memory, as `/tmp` is on many systems, defeats the purpose. Not in mod_wsgi.",
        set: |options, value| {
            options.spool_directory = Some(value.absolute_path()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-flush-delay",
        value: "milliseconds",
        default: "5",
        effect: Now,
        doc: "How long Apache waits for more of the response before it flushes what it has.",
        set: |options, value| {
            options.response_flush_delay = Some(value.milliseconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "header-buffer-size",
        value: "bytes, 0 or 8192 and more",
        default: "0: 32768",
        effect: Now,
        doc: "Longest single response header; a longer one is answered with 500.",
        set: |options, value| {
            options.header_buffer_size = Some(value.bytes(8192)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "send-buffer-size",
        value: "bytes, 0 or 512 and more",
        default: "0: the system's",
        effect: Now,
        doc: "Send buffer of the sockets between Apache and the processes.",
        set: |options, value| {
            options.send_buffer_size = Some(socket_buffer(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "receive-buffer-size",
        value: "bytes, 0 or 512 and more",
        default: "0: the system's",
        effect: Now,
        doc: "Receive buffer of the same sockets.",
        set: |options, value| {
            options.receive_buffer_size = Some(socket_buffer(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "socket-user",
        value: "name or #uid",
        default: "Apache's User",
        effect: Now,
        doc: "Owner of the group's socket, for servers whose children run as other users (ITK).",
        set: |options, value| {
            options.socket_user = Some(value.account()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "listen-backlog",
        value: "number",
        default: "100",
        effect: Now,
        doc: "Number of requests that may wait for the group in the kernel.",
        set: |options, value| {
            options.listen_backlog = Some(value.number(0..=i32::MAX as u32)?);
            Ok(())
        },
    },
];

fn spool(value: &OptionValue<'_>) -> Result<u64, Invalid> {
    let bytes = value.bytes(0)?;
    let fits = bytes == 0 || bytes >= LEAST_SPOOL;
    fits.then_some(bytes)
        .ok_or_else(|| value.invalid("0 for none, or 1048576 bytes or more"))
}

fn socket_buffer(value: &OptionValue<'_>) -> Result<u32, Invalid> {
    let bytes = value.bytes(512)?;
    u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes <= i32::MAX as u32)
        .ok_or_else(|| value.invalid("0 for the system's, or 512 to 2147483647 bytes"))
}
