//! How the operator is notified: whether the program can run, and whether the address can be reached. No message is sent;
//! `tombolo notify test` sends one.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Finding;
use crate::config::{NotifySettings, NotifyUrl};

/// How long an address may take to answer a connection, in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Network addresses of one name that are tried.
const ADDRESSES_MAX: usize = 3;
const CHECK: &str = "notify";

/// What was read of the ways to the operator.
#[derive(Debug, Default)]
pub(super) struct NotifyFacts {
    pub(super) program: Option<ProgramFacts>,
    pub(super) address: Option<AddressFacts>,
    /// Whether the address is reached through tor, and so was not tried.
    pub(super) via_tor: bool,
    /// Watches that the settings have.
    pub(super) watches: usize,
}

#[derive(Debug)]
pub(super) struct ProgramFacts {
    pub(super) path: PathBuf,
    /// Its mode, if it is a file.
    pub(super) mode: Result<u32, io::ErrorKind>,
}

#[derive(Debug)]
pub(super) struct AddressFacts {
    /// Host and port, without the path, which is a secret at many services.
    pub(super) place: String,
    /// Whether it takes a connection, or why not.
    pub(super) reached: Result<(), String>,
    /// Of an address with TLS: whether this machine has certificates of authorities.
    pub(super) has_authorities: Option<bool>,
}

/// Reads what this machine has of the ways to the operator.
pub(super) fn facts(settings: &NotifySettings, watches: usize) -> NotifyFacts {
    let program = settings.command.first().map(|program| {
        let path = PathBuf::from(program);
        let is_file = |metadata: std::fs::Metadata| match metadata.is_file() {
            true => Ok(metadata.mode()),
            false => Err(io::ErrorKind::IsADirectory),
        };
        let mode = std::fs::metadata(&path).map_err(|error| error.kind()).and_then(is_file);
        ProgramFacts { path, mode }
    });
    // What is reached through tor is not connected to from here: the checks of tor show whether that runs.
    let direct = settings.url.as_ref().filter(|_| !settings.via_tor);
    NotifyFacts { program, address: direct.map(address), via_tor: settings.via_tor, watches }
}

fn address(url: &NotifyUrl) -> AddressFacts {
    let reached = || -> Result<(), String> {
        let resolved = (url.host(), url.port()).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut why = "the name has no address".to_owned();
        for address in resolved.take(ADDRESSES_MAX) {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT / ADDRESSES_MAX as u32) {
                Ok(_) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    };
    let has_authorities = url.is_https().then(|| !rustls_native_certs::load_native_certs().certs.is_empty());
    AddressFacts { place: format!("{}:{}", url.host(), url.port()), reached: reached(), has_authorities }
}

/// The findings about each way to the operator; none where nothing is watched and nothing is set.
pub(super) fn notify(facts: &NotifyFacts) -> Vec<Finding> {
    let found: Vec<Finding> =
        facts.program.iter().map(program_found).chain(facts.address.iter().map(address_found)).collect();
    match (found.is_empty() && !facts.via_tor, facts.watches) {
        (true, 0) => Vec::new(),
        (true, _) => vec![Finding::warning(
            CHECK,
            "alarms are raised and no person is notified of them",
            "name a `command` or a `url` in section [notify] of tombolo.toml; `tombolo alarms` lists them",
        )],
        (false, _) => found,
    }
}

fn program_found(facts: &ProgramFacts) -> Finding {
    let path = facts.path.display();
    match facts.mode {
        Ok(mode) if mode & 0o111 != 0 => {
            Finding::ok(CHECK, format!("alarms go to {path}; `tombolo notify test` runs it"))
        }
        Ok(_) => Finding::needs_doing(CHECK, format!("{path} may not be run"), format!("`chmod +x {path}`")),
        Err(kind) => Finding::needs_doing(
            CHECK,
            format!("the program for alarms, {path}, cannot be run: {kind}"),
            "correct `command` in section [notify] of tombolo.toml",
        ),
    }
}

fn address_found(facts: &AddressFacts) -> Finding {
    let AddressFacts { place, reached, has_authorities } = facts;
    if *has_authorities == Some(false) {
        return Finding::needs_doing(
            CHECK,
            "this machine has no certificates of authorities, so no address with https is trusted",
            "`apt install ca-certificates`, or name a file in SSL_CERT_FILE",
        );
    }
    match reached {
        Ok(()) => {
            Finding::ok(CHECK, format!("{place} takes connections; `tombolo notify test` sends a message"))
        }
        Err(why) => Finding::warning(
            CHECK,
            format!("{place}, where alarms go, cannot be reached now: {why}"),
            "a message that does not arrive is tried again; check the address, or the way to it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckVerdict;
    use super::*;

    fn address(reached: Result<(), String>, has_authorities: Option<bool>) -> AddressFacts {
        AddressFacts { place: "ntfy.example:443".to_owned(), reached, has_authorities }
    }

    fn verdicts(facts: &NotifyFacts) -> Vec<CheckVerdict> {
        notify(facts).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn each_way_to_the_operator_is_judged() {
        use CheckVerdict::{NeedsDoing, Ok as Fine, Warning};
        assert_eq!(verdicts(&NotifyFacts::default()), []);
        assert_eq!(verdicts(&NotifyFacts { watches: 2, ..NotifyFacts::default() }), [Warning]);
        let program = |mode| Some(ProgramFacts { path: "/usr/local/bin/page".into(), mode });
        let both = |mode, reached, authorities| NotifyFacts {
            program: program(mode),
            address: Some(address(reached, authorities)),
            via_tor: false,
            watches: 1,
        };
        assert_eq!(verdicts(&both(Ok(0o100_755), Ok(()), Some(true))), [Fine, Fine]);
        assert_eq!(verdicts(&both(Ok(0o100_644), Ok(()), Some(false))), [NeedsDoing, NeedsDoing]);
        let away = both(Err(io::ErrorKind::NotFound), Err("connection refused".to_owned()), None);
        assert_eq!(verdicts(&away), [NeedsDoing, Warning]);
        assert!(notify(&away)[1].reason.contains("connection refused"));
    }
}
