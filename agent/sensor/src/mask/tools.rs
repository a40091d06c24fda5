//! Tools whose one-letter options take passwords. `-p` is a port, a path or a password, depending on the tool.

use super::{Expect, replace_from};

/// How an option takes its secret.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Takes {
    /// `-pX` only; `-p` alone asks.
    Attached,
    /// `-p X` only.
    Next,
    /// Either.
    Both,
    /// `user<separator>secret`, attached or next; letters may be bundled before (`-su`).
    PairAfter(u8),
    /// `pass:X` in the next word.
    PassSource,
}

/// One tool.
pub struct Tool {
    names: &'static [&'static str],
    /// Without one of these words after it, the options mean something else.
    subcommands: &'static [&'static str],
    options: &'static [(&'static str, Takes)],
    /// It only starts another command: its first word that is no option ends it.
    wraps: bool,
}

const fn tool(names: &'static [&'static str], options: &'static [(&'static str, Takes)]) -> Tool {
    Tool { names, subcommands: &[], options, wraps: false }
}

static TOOLS: [Tool; 19] = [
    tool(
        &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlshow",
            "mysqlcheck",
            "mysqlbinlog",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-import",
            "mariadb-check",
            "mysqlpump",
        ],
        &[("-p", Takes::Attached)],
    ),
    Tool { names: &["sshpass"], subcommands: &[], options: &[("-p", Takes::Both)], wraps: true },
    tool(
        &["curl"],
        &[
            ("-u", Takes::PairAfter(b':')),
            ("-U", Takes::PairAfter(b':')),
            ("--user", Takes::PairAfter(b':')),
            ("--proxy-user", Takes::PairAfter(b':')),
        ],
    ),
    tool(&["http", "https", "xh", "xhs"], &[("-a", Takes::PairAfter(b':')), ("--auth", Takes::PairAfter(b':'))]),
    tool(&["redis-cli"], &[("-a", Takes::Both)]),
    tool(&["mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport"], &[("-p", Takes::Both)]),
    tool(
        &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami", "ldapcompare"],
        &[("-w", Takes::Both)],
    ),
    tool(
        &["smbclient", "rpcclient", "smbget", "smbmap", "net"],
        &[("-U", Takes::PairAfter(b'%')), ("--user", Takes::PairAfter(b'%'))],
    ),
    tool(&["7z", "7za", "7zr", "rar", "unrar"], &[("-p", Takes::Attached), ("-hp", Takes::Attached)]),
    tool(&["zip", "unzip"], &[("-P", Takes::Both)]),
    tool(
        &["openssl"],
        &[
            ("-passin", Takes::PassSource),
            ("-passout", Takes::PassSource),
            ("-pass", Takes::PassSource),
            ("-k", Takes::Next),
            ("-K", Takes::Next),
        ],
    ),
    tool(&["sqlcmd", "bcp", "isql", "tsql", "ipmitool"], &[("-P", Takes::Both)]),
    tool(&["rdesktop", "xtightvncviewer"], &[("-p", Takes::Both)]),
    tool(&["snmpwalk", "snmpget", "snmpset", "snmpbulkwalk"], &[("-A", Takes::Both), ("-X", Takes::Both), ("-c", Takes::Both)]),
    tool(&["crackmapexec", "netexec", "nxc", "evil-winrm", "hydra"], &[("-p", Takes::Next)]),
    tool(&["xfreerdp", "xfreerdp3", "wlfreerdp"], &[("/p:", Takes::Attached)]),
    Tool {
        names: &["docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oras", "az", "oc", "crane"],
        subcommands: &["login"],
        options: &[("-p", Takes::Both)],
        wraps: false,
    },
    Tool {
        names: &["aws"],
        subcommands: &["configure"],
        options: &[("aws_secret_access_key", Takes::Next), ("aws_session_token", Takes::Next)],
        wraps: false,
    },
    tool(&["gpg", "gpg2"], &[("--passphrase", Takes::Next)]),
];

/// A tool at work and whether its subcommand has been met.
#[derive(Clone, Copy)]
pub struct Current {
    tool: &'static Tool,
    armed: bool,
}

fn base_name(word: &[u8]) -> &[u8] {
    word.rsplit(|byte| *byte == b'/').next().unwrap_or(word)
}

/// The tool at work once this word is met.
pub fn find(word: &[u8], current: Option<Current>) -> Option<Current> {
    let name = base_name(word);
    let named = |list: &[&str]| list.iter().any(|known| known.as_bytes() == name);
    if let Some(current) = current
        && named(current.tool.subcommands)
    {
        return Some(Current { armed: true, ..current });
    }
    match TOOLS.iter().find(|tool| named(tool.names)) {
        Some(tool) => Some(Current { tool, armed: tool.subcommands.is_empty() }),
        None => current.filter(|current| !current.tool.wraps || word.starts_with(b"-")),
    }
}

impl Current {
    /// Masks what an option holds itself; tells what it asks of the next word.
    pub fn look_at(self, word: &mut Vec<u8>, any: &mut bool) -> Expect {
        if !self.armed {
            return Expect::Nothing;
        }
        for (option, takes) in self.tool.options {
            let rest = word.strip_prefix(option.as_bytes());
            match (takes, rest.map(<[u8]>::len)) {
                (Takes::Next | Takes::Both, Some(0)) => return Expect::Secret,
                (Takes::PassSource, Some(0)) => return Expect::PassSource,
                (Takes::PairAfter(separator), Some(0)) => return Expect::After(*separator),
                (Takes::Attached | Takes::Both, Some(_)) => *any |= replace_from(word, option.len()),
                (Takes::PairAfter(separator), Some(_)) => {
                    if let Some(at) = word.iter().position(|byte| byte == separator) {
                        *any |= replace_from(word, at + 1);
                    }
                }
                (Takes::PairAfter(separator), None) if is_bundle(word, option) => return Expect::After(*separator),
                _ => {}
            }
        }
        Expect::Nothing
    }
}

/// `-su`: letters without values, the last of which takes one.
fn is_bundle(word: &[u8], option: &str) -> bool {
    let letters = word.strip_prefix(b"-").filter(|letters| (2..=8).contains(&letters.len()));
    option.len() == 2
        && letters.is_some_and(|letters| {
            letters.is_ascii() && letters.iter().all(u8::is_ascii_alphabetic) && letters.last() == option.as_bytes().last()
        })
}
