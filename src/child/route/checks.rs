//! The checks that a request must pass before it is sent to a worker, in the order of mod_wsgi.
//!
//! Runs in: an Apache child, at the beginning of the handler.

use super::rejection::Rejection;

/// What is at the script's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Nothing, or nothing that Apache's user can see.
    Missing,
    /// A directory.
    Directory,
    /// A file of any kind.
    File,
}

/// The parts of a request that are checked.
#[derive(Debug, Clone, Copy)]
pub struct RequestToCheck<'a> {
    /// `Options ExecCGI`.
    pub may_execute: bool,
    /// An alias of ours leads to the script: `ExecCGI` is not needed.
    pub is_aliased: bool,
    /// The script's path.
    pub filename: &'a [u8],
    /// What is there.
    pub script: Script,
    /// `AcceptPathInfo Off`.
    pub refuses_path_info: bool,
    /// What follows the script in the URL.
    pub path_info: &'a [u8],
    /// `Transfer-Encoding` of the request.
    pub transfer_encoding: Option<&'a [u8]>,
    /// `WSGIChunkedRequest`.
    pub chunked_allowed: bool,
    /// `Content-Length` of the request.
    pub content_length: Option<&'a [u8]>,
    /// `LimitRequestBody`, in bytes.
    pub body_limit: Option<u64>,
}

/// What is known about the request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// This many bytes, at least one.
    Known(u64),
    /// The length is known once the end has come.
    Chunked,
}

/// Checks a request for a script.
pub fn check(request: &RequestToCheck<'_>) -> Result<BodyLength, Rejection> {
    let file = || request.filename.to_vec();
    if !request.may_execute && !request.is_aliased {
        return Err(Rejection::NoExecution(file()));
    }
    match request.script {
        Script::Missing => return Err(Rejection::ScriptMissing(file())),
        Script::Directory => return Err(Rejection::ScriptIsDirectory(file())),
        Script::File => {}
    }
    if request.refuses_path_info && !request.path_info.is_empty() {
        return Err(Rejection::PathInfo(request.path_info.to_vec()));
    }
    let chunked = match request.transfer_encoding {
        None => false,
        Some(coding) if !coding.eq_ignore_ascii_case(b"chunked") => {
            return Err(Rejection::TransferCoding(coding.to_vec()));
        }
        Some(_) if !request.chunked_allowed => return Err(Rejection::Chunked),
        Some(_) => true,
    };
    let length = match request.content_length {
        None => None,
        Some(value) => match length(value) {
            None => return Err(Rejection::ContentLength(value.to_vec())),
            known => known,
        },
    };
    if let (Some(length), Some(limit)) = (length, request.body_limit) {
        if length > limit {
            return Err(Rejection::BodyTooLarge { length, limit });
        }
    }
    // httpd removes a Content-Length beside a Transfer-Encoding.
    Ok(match (chunked, length) {
        (true, _) => BodyLength::Chunked,
        (false, None | Some(0)) => BodyLength::None,
        (false, Some(length)) => BodyLength::Known(length),
    })
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (length <= i64::MAX as u64).then_some(length)
}

#[cfg(test)]
mod tests {
    use wire::log_id;

    use super::*;

    fn sound() -> RequestToCheck<'static> {
        RequestToCheck {
            may_execute: true,
            is_aliased: false,
            filename: b"/srv/app.wsgi",
            script: Script::File,
            refuses_path_info: false,
            path_info: b"/x",
            transfer_encoding: None,
            chunked_allowed: true,
            content_length: None,
            body_limit: None,
        }
    }

    #[test]
    fn a_sound_request_passes_and_its_body_is_known() {
        let with = |content_length, transfer_encoding| {
            check(&RequestToCheck {
                content_length,
                transfer_encoding,
                ..sound()
            })
        };
        assert_eq!(with(None, None), Ok(BodyLength::None));
        assert_eq!(with(Some(b"0"), None), Ok(BodyLength::None));
        assert_eq!(with(Some(b"12"), None), Ok(BodyLength::Known(12)));
        assert_eq!(with(None, Some(b"Chunked")), Ok(BodyLength::Chunked));
        let aliased = RequestToCheck {
            may_execute: false,
            is_aliased: true,
            ..sound()
        };
        assert_eq!(check(&aliased), Ok(BodyLength::None));
    }

    #[test]
    fn each_fault_has_its_status_and_the_first_one_counts() {
        // From the last check to the first: each line adds a fault that is found earlier.
        let mut request = RequestToCheck {
            body_limit: Some(10),
            content_length: Some(b"11"),
            ..sound()
        };
        let status =
            |request: &RequestToCheck<'_>| check(request).map_err(|rejection| rejection.status());
        assert_eq!(status(&request), Err(413));
        request.content_length = Some(b"-1");
        assert_eq!(status(&request), Err(400));
        request.content_length = Some(b"1a");
        assert_eq!(status(&request), Err(400));
        request.transfer_encoding = Some(b"chunked");
        request.chunked_allowed = false;
        assert_eq!(status(&request), Err(411));
        request.transfer_encoding = Some(b"gzip");
        assert_eq!(status(&request), Err(501));
        request.refuses_path_info = true;
        assert_eq!(check(&request).unwrap_err().id(), log_id::PATH_INFO_REFUSED);
        request.script = Script::Directory;
        assert_eq!(status(&request), Err(403));
        request.script = Script::Missing;
        assert_eq!(status(&request), Err(404));
        request.may_execute = false;
        assert_eq!(
            check(&request).unwrap_err().id(),
            log_id::EXECCGI_NOT_ALLOWED
        );
    }
}
