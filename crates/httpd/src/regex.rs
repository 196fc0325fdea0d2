//! httpd's regular expressions (PCRE).
//!
//! Runs in: the parent, which compiles while it reads the configuration, and the Apache children,
//! which match; a compiled expression is never changed, so any thread may use it.

use std::ffi::{c_char, CString};
use std::ops::Range;

use super::sys;

/// A compiled expression.
pub struct Regex {
    // Boxed: PCRE is given its address once and for all.
    compiled: Box<sys::ap_regex_t>,
}

// SAFETY: matching only reads the compiled expression; httpd shares its own among threads likewise.
unsafe impl Send for Regex {}
// SAFETY: as above.
unsafe impl Sync for Regex {}

/// Most groups a substitution can name: `$0` to `$9`.
pub const GROUPS: usize = 10;

/// Where an expression and its groups matched, as byte ranges; `None` for a group that took no part.
pub type Matches = [Option<Range<usize>>; GROUPS];

impl Regex {
    /// Compiles an extended expression. The error is PCRE's own sentence.
    pub fn new(pattern: &[u8]) -> Result<Regex, String> {
        let pattern = CString::new(pattern).map_err(|_| "it contains a NUL byte".to_owned())?;
        // SAFETY: all-zero is what a C caller's uninitialised structure may be; ap_regcomp fills it.
        let mut compiled: Box<sys::ap_regex_t> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: valid target, terminated pattern.
        let failure =
            unsafe { sys::ap_regcomp(&mut *compiled, pattern.as_ptr(), sys::AP_REG_EXTENDED as _) };
        if failure == 0 {
            return Ok(Regex { compiled });
        }
        let mut text = [0_u8; 256];
        // SAFETY: ap_regerror writes at most the given size, terminated, and reads from the
        // structure nothing but what ap_regcomp left there.
        unsafe {
            let at = text.as_mut_ptr().cast::<c_char>();
            sys::ap_regerror(failure, &*compiled, at, text.len() as _);
        }
        let end = text
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(text.len());
        Err(String::from_utf8_lossy(&text[..end]).trim_end().to_owned())
    }

    /// Searches `subject`.
    pub fn find(&self, subject: &[u8]) -> Option<Matches> {
        let mut found = [sys::ap_regmatch_t {
            rm_so: -1,
            rm_eo: -1,
        }; GROUPS];
        // SAFETY: a compiled expression; `len` bounds the subject, `GROUPS` the array.
        let failure = unsafe {
            sys::ap_regexec_len(
                &*self.compiled,
                subject.as_ptr().cast::<c_char>(),
                subject.len() as _,
                GROUPS as _,
                found.as_mut_ptr(),
                0,
            )
        };
        (failure == 0).then(|| {
            found.map(|group| {
                let start = usize::try_from(group.rm_so).ok()?;
                let end = usize::try_from(group.rm_eo).ok()?;
                (start <= end && end <= subject.len()).then_some(start..end)
            })
        })
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled in `new`, freed once.
        unsafe { sys::ap_regfree(&mut *self.compiled) };
    }
}
