//! Functions that this process may have, found by name: what only later versions of a program or
//! library export.

use std::ffi::CStr;
use std::ptr::NonNull;

/// The address of what the program, or a library it has loaded for everybody, exports as `name`.
pub fn find(name: &CStr) -> Option<NonNull<libc::c_void>> {
    // SAFETY: the name is a C string, which is read during the call only.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_if_there_is_one() {
        assert!(find(c"getpid").is_some());
        assert!(find(c"no_such_function_of_anybody").is_none());
    }
}
