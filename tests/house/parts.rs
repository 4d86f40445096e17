//! The air and the Tor network, each in the namespaces of a lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::lab::Lab;

const DIREWOLF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/direwolf");
const TESTNET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/tor-testnet");

/// What this machine lacks beside the lab, with the remedy.
pub(crate) fn missing() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let parts = [
        ("direwolf", "direwolf"),
        ("pulseaudio", "pulseaudio libasound2-plugins"),
        ("tor", "tor"),
        ("tor-gencert", "tor"),
    ];
    let missing = parts.into_iter().find(|(program, _)| !has(program))?;
    Some(format!("{} (apt install {})", missing.0, missing.1))
}

/// Two TNCs in two namespaces, on one air.
pub(crate) struct Tncs {
    folder: PathBuf,
    namespaces: String,
    /// Where their KISS ports are, each in its namespace.
    pub(crate) kiss: Vec<String>,
}

impl Tncs {
    /// The pair at 9600 baud, in the namespaces of these nodes.
    pub(crate) fn start(lab: &Lab, nodes: [usize; 2]) -> Self {
        let namespaces = nodes.map(|node| lab.namespace(node)).join(" ");
        let mut tncs = Tncs { folder: lab.folder().join("air"), namespaces, kiss: Vec::new() };
        let lines = tncs.script(&["start"]);
        tncs.kiss = lines.lines().filter_map(|line| line.split_once('=')).map(|(_, at)| at.into()).collect();
        assert_eq!(tncs.kiss.len(), 2, "{lines}");
        tncs
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DIREWOLF);
        command.args(arguments).env("DW_DIR", &self.folder).env("DW_BAUD", "9600");
        command.env("DW_NETNS", &self.namespaces).stdin(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "direwolf {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends both as a power cut would.
    pub(crate) fn kill(&self) {
        for number in ["0", "1"] {
            self.script(&["kill", number]);
        }
    }

    /// Starts both again.
    pub(crate) fn revive(&self) {
        for number in ["0", "1"] {
            self.script(&["restart", number]);
        }
    }
}

impl Drop for Tncs {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]).status();
    }
}

/// A private Tor network in one namespace, with two client tors.
pub(crate) struct Tor {
    folder: PathBuf,
    namespace: String,
    variables: BTreeMap<String, String>,
}

impl Tor {
    /// The network, in the namespace of this node.
    pub(crate) fn start(lab: &Lab, node: usize) -> Self {
        let folder = lab.folder().join("tor");
        let mut tor = Tor { folder, namespace: lab.namespace(node), variables: BTreeMap::new() };
        let owner = std::process::id().to_string();
        let lines = tor.script(&["start", "--clients", "2", "--owner-pid", &owner, "--timeout", "240"]);
        let variables = lines.lines().filter_map(|line| line.split_once('='));
        tor.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        tor
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, TESTNET]).args(arguments);
        command.arg("--dir").arg(&self.folder).stdin(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tor-testnet {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a daemon is started with to use the client tor of this number, from 1.
    pub(crate) fn arguments(&self, number: usize) -> Vec<String> {
        let options =
            [("--tor-socks", "SOCKS_EXTENDED"), ("--tor-control", "CONTROL"), ("--tor-cookie", "COOKIE")];
        let pairs = options.map(|(option, name)| {
            let value = &self.variables[&format!("TOR_TESTNET_CLIENT{number}_{name}")];
            [option.to_owned(), value.clone()]
        });
        pairs.concat()
    }

    /// Ends a client tor as a power cut would.
    pub(crate) fn kill(&self, number: usize) {
        self.script(&["kill", &format!("client{number}"), "--signal", "KILL"]);
    }

    /// Starts it again.
    pub(crate) fn revive(&self, number: usize) {
        let owner = std::process::id().to_string();
        self.script(&["revive", &format!("client{number}"), "--owner-pid", &owner]);
    }
}

impl Drop for Tor {
    fn drop(&mut self) {
        let mut command = self.command(&["stop"]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
