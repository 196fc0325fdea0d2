//! How the interpreters of a process group are set up: the directives at top level, the
//! `<WSGIInterpreterOptions>` sections and the group's own options together.
//!
//! Runs in: the Apache parent. The names of application groups may come from requests, which a worker
//! sees; it gets the options of each name that a section has, and those of all others.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::codec::Bytes;
use wire::group::InterpreterOptions;

use super::module_config::GlobalConfig;
use super::resolved::interpreter;

/// The settings of a group's interpreters.
pub(super) struct Interpreters<'a> {
    pub global: &'a GlobalConfig,
    pub process_group: &'a [u8],
    /// `python-path=`
    pub base: Vec<Vec<u8>>,
    /// `switch-interval=`
    pub switch_interval: Option<Duration>,
}

impl Interpreters<'_> {
    /// `application_group` as for [`interpreter`].
    pub fn of(&self, application_group: Option<&[u8]>) -> InterpreterOptions {
        let base = self.base.clone();
        let resolved = interpreter(self.global, self.process_group, application_group, base);
        let is_main = application_group == Some(b"");
        let (own, group) = (resolved.own_switch_interval, self.switch_interval);
        // The option is for the process, whose GIL is that of the main interpreter.
        let first = if is_main {
            group.or(own)
        } else {
            own.or(group)
        };
        InterpreterOptions {
            path: resolved.python_path.into_iter().map(Bytes).collect(),
            switch_interval: first.or(resolved.switch_interval),
            own_gil: resolved.own_gil && !is_main,
            restrict_stdin: resolved.restrict_stdin,
            restrict_stdout: resolved.restrict_stdout,
            restrict_signal: resolved.restrict_signal,
        }
    }

    /// Of the application groups that a section names for this process group.
    pub fn of_application_groups(&self) -> Vec<(Bytes, InterpreterOptions)> {
        let blocks = self.global.blocks.iter();
        let own = blocks.filter(|block| {
            let process = block.process_group.as_deref();
            process.is_none_or(|name| name == self.process_group)
        });
        let names = own.filter_map(|block| block.application_group.as_deref());
        let names: BTreeSet<&[u8]> = names.filter(|name| !name.is_empty()).collect();
        let options = |name: &[u8]| (name.into(), self.of(Some(name)));
        names.into_iter().map(options).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestConfiguration;
    use super::*;

    #[test]
    fn sections_for_application_groups_reach_their_interpreters() {
        let configuration = TestConfiguration::of(
            "WSGIDaemonProcess shop python-path=/srv/lib
            WSGISwitchInterval 0.2
            <WSGIInterpreterOptions>
            WSGIPerInterpreterGIL On
            WSGIFreeThreading On
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions application-group=cart>
            WSGISwitchInterval 0.3
            WSGIPythonPath /srv/cart
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions process-group=shop application-group=%{GLOBAL}>
            WSGIRestrictStdin On
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions process-group=blog application-group=comments>
            WSGIRestrictStdin On
            </WSGIInterpreterOptions>",
        );
        let groups = configuration.resolve_groups().groups;
        let python = &groups.find(b"shop").unwrap().process_group.python;
        let (main, others) = (&python.main_interpreter, &python.sub_interpreters);
        assert!(python.free_threading);
        assert!(main.restrict_stdin && !main.own_gil);
        assert!(!others.restrict_stdin && others.own_gil);
        assert_eq!(others.switch_interval, Some(Duration::from_millis(200)));
        let [(name, cart)] = &python.application_groups[..] else {
            panic!("{:?}", python.application_groups)
        };
        assert_eq!(*name, "cart".into());
        assert_eq!(cart.path, ["/srv/cart".into(), "/srv/lib".into()]);
        assert_eq!(cart.switch_interval, Some(Duration::from_millis(300)));
        assert!(cart.own_gil && !cart.restrict_stdin);
    }
}
