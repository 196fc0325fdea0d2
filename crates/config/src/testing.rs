//! For unit tests, of this crate and of those above it: a configuration, read line by line as httpd
//! would, and the machine it is read on.
//!
//! Runs in: unit tests only.

use super::concurrency::Concurrency;
use super::directive::{apply, Scope, Target};
use super::directives;
use super::groups::{resolve_groups, ResolvedGroups, Server};
use super::module_config::{DirectoryConfig, ServerConfig};
use super::own_group::OtherDirectives;
use super::place::{Place, VirtualHost};
use super::process_group::ApacheIdentity;
use super::reading::Reading;
use super::system::{Account, AccountGroup, System};

/// One virtual host while it is read.
pub struct Host {
    pub name: Option<&'static str>,
    pub address: &'static str,
    pub config: ServerConfig,
}

/// A configuration being read. Files are not told apart; lines are counted.
pub struct TestConfiguration {
    pub main: ServerConfig,
    pub hosts: Vec<Host>,
    /// Directory sections, in order, with the argument.
    pub directories: Vec<(String, DirectoryConfig)>,
    pub reading: Reading,
    pub machine: Machine,
    line: u32,
    host: Option<usize>,
    directory: Option<usize>,
}

impl Default for TestConfiguration {
    fn default() -> TestConfiguration {
        TestConfiguration::new()
    }
}

impl TestConfiguration {
    /// An empty one, for an Apache started by root.
    pub fn new() -> TestConfiguration {
        TestConfiguration {
            main: ServerConfig::default(),
            hosts: Vec::new(),
            directories: Vec::new(),
            reading: Reading::default(),
            machine: Machine { root: true },
            line: 0,
            host: None,
            directory: None,
        }
    }

    /// Reads `text`, which must be right.
    pub fn of(text: &str) -> TestConfiguration {
        let mut configuration = TestConfiguration::new();
        if let Err(sentence) = configuration.read(text) {
            panic!("{sentence}\nin\n{text}");
        }
        configuration
    }

    /// What is wrong with `text`; it must be wrong.
    pub fn refusal(text: &str) -> String {
        let mut configuration = TestConfiguration::new();
        configuration.read(text).expect_err(text)
    }

    /// Reads further lines: directives of the table, `<VirtualHost name address>` with the
    /// ServerName for the test's convenience (`-` for none), and `<Directory path>`.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for line in text.lines() {
            self.line += 1;
            let line = line.trim();
            let (name, args) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let argument = args.trim_end_matches('>');
            match name {
                "" => {}
                "<VirtualHost" => {
                    let (name, address) = argument.split_once(' ').unwrap();
                    self.host = Some(self.hosts.len());
                    self.hosts.push(Host {
                        name: Some(name).filter(|&name| name != "-").map(leak),
                        address: leak(address),
                        config: ServerConfig::default(),
                    });
                }
                "</VirtualHost>" => self.host = None,
                "<Directory" | "<Location" => {
                    self.directory = Some(self.directories.len());
                    self.directories
                        .push((argument.into(), DirectoryConfig::default()));
                }
                "</Directory>" | "</Location>" => self.directory = None,
                "</WSGIInterpreterOptions>" => self.main.global.close_block(),
                _ => self.directive(name, args)?,
            }
        }
        Ok(())
    }

    fn directive(&mut self, name: &str, args: &str) -> Result<(), String> {
        let name = name.trim_end_matches('>');
        let row = directives::find(name).ok_or(format!("no directive {name}"))?;
        let args = if row.is_section() {
            args.trim_end_matches('>')
        } else {
            args
        };
        let place = self.place();
        let server = match self.host {
            Some(host) => &mut self.hosts[host].config,
            None => &mut self.main,
        };
        let target = match self.directory {
            Some(at) => Target::Directory(&mut self.directories[at].1),
            None => Target::Server(server),
        };
        if row.scope == Scope::Global && (self.host.is_some() || self.directory.is_some()) {
            return Err(format!("{name} not allowed here"));
        }
        apply(
            row,
            target,
            args.as_bytes(),
            &place,
            &self.machine,
            &mut self.reading,
        )
        .map_err(|invalid| invalid.to_string())
    }

    fn place(&self) -> Place {
        Place {
            file: "shop.conf".into(),
            line: self.line,
            directory: self.directory.map(|at| self.directories[at].0.clone()),
            virtual_host: self.host.map(|id| VirtualHost {
                id,
                address: self.hosts[id].address.into(),
            }),
            in_htaccess: false,
        }
    }

    /// The main server and the virtual hosts.
    pub fn servers(&self) -> Vec<Server<'_>> {
        let mut servers = vec![Server {
            id: None,
            hostname: Some(b"main.example.com"),
        }];
        servers.extend(self.hosts.iter().enumerate().map(|(id, host)| Server {
            id: Some(id),
            hostname: host.name.map(str::as_bytes),
        }));
        servers
    }

    /// Settles what was read, for an Apache that runs as www-data.
    pub fn resolve_groups(&self) -> ResolvedGroups {
        let apache = ApacheIdentity {
            user: www_data(),
            gid: 33,
        };
        resolve_groups(
            &self.reading,
            &self.servers(),
            &self.main.global,
            &apache,
            OtherDirectives::default(),
            &self.machine,
        )
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// A machine with the users root, www-data (33), ann (1001, in groups 1001 and 27), and a
/// group database that breaks when asked for "broken".
pub struct Machine {
    pub root: bool,
}

pub fn ann() -> Account {
    Account {
        name: b"ann".to_vec(),
        uid: 1001,
        gid: 1001,
        home: b"/home/ann".to_vec(),
    }
}

pub fn www_data() -> Account {
    Account {
        name: b"www-data".to_vec(),
        uid: 33,
        gid: 33,
        home: b"/var/www".to_vec(),
    }
}

fn users() -> [Account; 3] {
    let root = Account {
        name: b"root".to_vec(),
        uid: 0,
        gid: 0,
        home: b"/root".to_vec(),
    };
    [root, www_data(), ann()]
}

const GROUPS: [(&[u8], u32); 4] = [
    (b"root", 0),
    (b"www-data", 33),
    (b"ann", 1001),
    (b"sudo", 27),
];

impl System for Machine {
    fn own_group_concurrency(&self) -> Concurrency {
        Concurrency {
            processes: 4,
            threads: 15,
        }
    }
    fn user_by_name(&self, name: &[u8]) -> Result<Option<Account>, String> {
        if name == b"broken" {
            return Err("the user database is away".into());
        }
        Ok(users().into_iter().find(|user| user.name == name))
    }
    fn user_by_id(&self, uid: u32) -> Result<Option<Account>, String> {
        Ok(users().into_iter().find(|user| user.uid == uid))
    }
    fn group_by_name(&self, name: &[u8]) -> Result<Option<AccountGroup>, String> {
        if name == b"broken" {
            return Err("the group database is away".into());
        }
        let found = GROUPS.iter().find(|(known, _)| *known == name);
        Ok(found.map(|(name, gid)| AccountGroup {
            name: name.to_vec(),
            gid: *gid,
        }))
    }
    fn group_by_id(&self, gid: u32) -> Result<Option<AccountGroup>, String> {
        let found = GROUPS.iter().find(|(_, known)| *known == gid);
        Ok(found.map(|(name, gid)| AccountGroup {
            name: name.to_vec(),
            gid: *gid,
        }))
    }
    fn groups_of(&self, user: &Account, gid: u32) -> Result<Vec<u32>, String> {
        match user.uid {
            1001 => Ok(vec![gid, 27]),
            _ => Ok(vec![gid]),
        }
    }
    fn is_root(&self) -> bool {
        self.root
    }
    fn max_groups(&self) -> usize {
        4
    }
    fn server_root_relative(&self, path: &[u8]) -> Option<Vec<u8>> {
        match path {
            [b'/', ..] => Some(path.to_vec()),
            b".." => None,
            _ => Some([b"/etc/apache2/", path].concat()),
        }
    }
    fn regex_compiles(&self, pattern: &[u8]) -> Result<(), String> {
        match pattern.contains(&b'(') == pattern.contains(&b')') {
            true => Ok(()),
            false => Err("missing closing parenthesis".into()),
        }
    }
}
