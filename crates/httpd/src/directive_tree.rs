//! The directives of the whole configuration, of every module, as httpd has read them.
//!
//! Runs in: the Apache parent, once a configuration is read. Directives of `.htaccess` files are not
//! among them.

use super::pool;
use super::sys;

/// Calls `note` for every directive, with name and arguments, `<` included in the name of a section.
///
/// To be called in the hooks that check and start a configuration, where the tree is whole and
/// nobody else is at work on it.
pub(super) fn each(mut note: impl FnMut(&[u8], &[u8])) {
    // SAFETY: httpd's global, set while the configuration is read by this thread.
    let root = unsafe { sys::ap_conftree };
    let mut open = vec![root.cast_const()];
    while let Some(node) = open.pop() {
        // SAFETY: a node of the tree, which lives as long as the configuration's reading, or null.
        let Some(node) = (unsafe { node.as_ref() }) else {
            continue;
        };
        // SAFETY: strings of the tree live as long as it.
        let (name, args) = unsafe { (pool::bytes(node.directive), pool::bytes(node.args)) };
        note(name.unwrap_or_default(), args.unwrap_or_default());
        open.push(node.next.cast_const());
        open.push(node.first_child.cast_const());
    }
}
