//! The tree of commands, with the text of `--help`: what can be written on the command line, and as what it is read.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tombolo_transports::Medium;
use tombolo_transports::tor::endpoint::Endpoint;

use super::values::{
    Addresses, addresses, endpoint, joiner_level, key, level, listen, medium, radio, radio_use, yes_or_no,
};
use super::{alarms, notify, tools, watch_for};
use crate::config::TimeSpan;
use crate::config::radio::RadioSettings;
use crate::federation::{RadioUse, TrustLevel};
use crate::layer::KeyPath;
use crate::router::Preference;
use crate::runtime::journal::EventId;
/// Keeps the state of trusted nodes in step, over any link, with no server.
#[derive(Debug, Parser)]
#[command(name = "tombolo", version, after_help = AFTER, max_term_width = HELP_COLUMNS_MAX)]
pub(super) struct Cli {
    /// The node's folder [default: tombolo in the platform's place for data]
    #[arg(long, global = true, value_name = "DIR", env = "TOMBOLO_DATA_DIR", hide_env_values = true)]
    pub(super) data_dir: Option<OsString>,
    /// Print JSON: one object or list per command, errors as {"error":{"code","message"}}
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

/// Longer lines are hard to read, however wide the terminal is.
const HELP_COLUMNS_MAX: usize = 100;

const AFTER: &str = "\
Examples:
  tombolo init                    make a node, called like the machine
  tombolo up                      run it, in the foreground
  tombolo invite                  print a code for a friend's node
  tombolo join CODE               on the friend's side
  tombolo create plan             make a shared document
  tombolo set plan monday Ada     write into it
  tombolo demo                    see it work: four nodes, one by radio only

PEER is a name, a DID or the start of one. KEY is a/b/c (a backslash escapes). VALUE is JSON, else a text.
Exit codes: 0 done, 1 failed, 2 wrong arguments.";

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Make a new node: its identity, settings and store
    #[command(
        after_help = "Examples:\n  tombolo init\n  tombolo init --name attic\n  tombolo --data-dir /srv/tombolo init --name \"field station 2\"\n\nAn identity that is there already is never overwritten."
    )]
    Init {
        /// The name of the node; peers see it [default: the name of this machine]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show who this node is
    #[command(after_help = "Examples:\n  tombolo id\n  tombolo id --json")]
    Id,
    /// Put a store that cannot be used aside and make a new one; identity and settings stay
    #[command(
        after_help = "Examples:\n  tombolo recover\n  tombolo recover --json\n\nNothing is deleted. Start `tombolo up` after it and join a peer again: what this node wrote comes back from it. The list of peers does not: join the others again too. A store that reads well stays where it is."
    )]
    Recover,
    /// Run the node in the foreground, until SIGTERM or Ctrl-C
    #[command(
        after_help = "Examples:\n  tombolo up\n  tombolo up --mesh meshtastic+serial:///dev/ttyUSB0\n  tombolo up --mesh 'kiss+tcp://localhost:8001?bitrate=1200&region=wired'\n  tombolo up \\\n    --mesh 'kiss+serial:///dev/ttyS0?bitrate=9600&region=amateur&call=N0CALL'\n  tombolo up --listen 0.0.0.0:0          a second node on one machine\n  tombolo up --no-lan --tor-control unix:/run/tor/control\n  RUST_LOG=debug tombolo up\n\nSettings stand in tombolo.toml in the node's folder, radios as well.\n\nNo region, no transmission: a radio that does not report its own needs ?region=EU868 (EU433, US915, ANZ, IN865, amateur; wired for a TNC on a cable). The other options behind the question mark are joined by & and named like the settings of [[radio]]:\n  of the air      region=  frequency_hz=869525000  bitrate=9600, or\n                  preset=LongFast or preset=SF7/125\n                  hopping=true (it changes channels)\n  of the station  mode=encrypted|signed-clear  call_sign=N0CALL\n                  call_sign_every=10m\n  of the traffic  soft_cap_permille=10 (a limit of your own)  sign_every=16\n                  mtu=120 (bytes of a frame)\n  KISS            call=N0CALL-1 (AX.25)  txdelay=  persist=  slot=  tncport=\n                  modem=meshcore\n  MeshCore        channel=  secret=\n  Meshtastic      channel=  hops=\n  serial ports    baud="
    )]
    Up {
        /// A radio to use: kiss+tcp://HOST:PORT, kiss+serial:///DEVICE, meshcore+..., meshtastic+...; may be repeated
        #[arg(long = "mesh", value_name = "URL", value_parser = radio)]
        mesh: Vec<RadioSettings>,
        /// A UDP address to listen on, in place of those in the settings; port 0 takes any free port; may be repeated
        #[arg(long = "listen", value_name = "ADDR:PORT", value_parser = listen)]
        listen: Vec<SocketAddr>,
        /// Stay off the local network, with radios and Tor only
        #[arg(long, conflicts_with = "listen")]
        no_lan: bool,
        /// Tor's SOCKS port [default: that of the settings, or 127.0.0.1:9050 where a tor answers]
        #[arg(long, value_name = "ADDR:PORT", value_parser = endpoint)]
        tor_socks: Option<Endpoint>,
        /// Tor's control port, by which the node gets its onion service: ADDR:PORT or unix:PATH
        #[arg(long, value_name = "PLACE", value_parser = endpoint)]
        tor_control: Option<Endpoint>,
        /// The cookie file of the control port, where it is not the one that tor names
        #[arg(long, value_name = "PATH")]
        tor_cookie: Option<PathBuf>,
        /// Do not use Tor, though one runs
        #[arg(long, conflicts_with_all = ["tor_socks", "tor_control", "tor_cookie"])]
        no_tor: bool,
        /// This node is new: sign at once, though the store is newer than the key and no peer has answered
        #[arg(long)]
        new: bool,
    },
    /// Print an invite code, on one line; it works once
    #[command(
        after_help = "Examples:\n  tombolo invite\n  tombolo invite --level observer --expires 7d\n  tombolo invite --qr\n\nWho has the code can join: hand it over on a way you trust."
    )]
    Invite {
        /// What the joiner may do here: trusted (read and write) or observer (read)
        #[arg(long, default_value = "trusted", value_name = "L", value_parser = joiner_level)]
        level: TrustLevel,
        /// How long the code works, like 30m, 24h or 7d
        #[arg(long, default_value = "24h", value_name = "T")]
        expires: TimeSpan,
        /// Draw a QR code instead, for an 80 x 24 terminal
        #[arg(long)]
        qr: bool,
        /// Where this node can be reached, if it does not know it by itself
        #[arg(long = "addr", value_name = "A", value_parser = addresses)]
        addresses: Vec<Addresses>,
    },
    /// List the invites that are open, or withdraw one
    #[command(
        after_help = "Examples:\n  tombolo invites\n  tombolo invites --json\n  tombolo invites withdraw 5f3a"
    )]
    Invites {
        #[command(subcommand)]
        act: Option<InvitesAct>,
    },
    /// Join with an invite code; waits until both sides agreed
    #[command(
        after_help = "Examples:\n  tombolo join fed1:eyJkaWQi...\n  tombolo join fed1:eyJkaWQi... --addr 192.168.1.20\n  tombolo join - < code.txt\n\nWithout a running node, one runs until both sides agreed."
    )]
    Join {
        /// The code; - reads it from standard input
        code: String,
        /// Where the inviter is, where multicast is blocked: an IP address, with or without a port
        #[arg(long = "addr", value_name = "A", value_parser = addresses)]
        addresses: Vec<Addresses>,
        /// Give up waiting after so long; the node goes on trying while it runs
        #[arg(long, value_name = "T")]
        timeout: Option<TimeSpan>,
    },
    /// Take over the peers and invites of a federation that another program kept
    #[command(
        after_help = "Examples:\n  tombolo adopt /var/lib/other/federation\n  tombolo adopt old --json\n\nDIR holds nodes.json, {\"nodes\": [...]}, and, where there are invites, invites.json, {\"outgoing\": [...], \"incoming\": [...]}. A record that cannot be used is listed with its reason; a peer that is here already stays as it is. The way back: tombolo peers --json | jq '{nodes: .}' > nodes.json"
    )]
    Adopt {
        /// The folder with nodes.json and invites.json
        dir: PathBuf,
    },
    /// List the peers with trust, address and age
    #[command(after_help = "Examples:\n  tombolo peers\n  tombolo peers --json")]
    Peers,
    /// Change what a peer may do
    #[command(
        after_help = "Examples:\n  tombolo trust harbour observer\n  tombolo trust z6MkhaXg trusted\n\nLevels: trusted reads and writes our documents, observer reads, untrusted neither.\nA lower level drops our copies of what it no longer grants."
    )]
    Trust {
        /// A name, a DID or the start of one
        peer: String,
        /// trusted, observer or untrusted
        #[arg(value_parser = level)]
        level: TrustLevel,
    },
    /// Give a peer another address, and dial it
    #[command(
        after_help = "Examples:\n  tombolo dial harbour 192.168.1.20\n  tombolo dial harbour 192.168.1.20:8662 '[fd00::20]:8662'\n\nThe addresses go before those that are known already. On one network peers find each other by themselves."
    )]
    Dial {
        /// A name, a DID or the start of one
        peer: String,
        /// Where it can be reached
        #[arg(required = true, value_name = "ADDR", value_parser = addresses)]
        addresses: Vec<Addresses>,
    },
    /// Rename a peer, on this node
    #[command(after_help = "Examples:\n  tombolo rename harbour \"harbour office\"")]
    Rename {
        /// A name, a DID or the start of one
        peer: String,
        /// The name by which this node knows it
        name: String,
    },
    /// Remove a peer; what it wrote into your documents stays
    #[command(after_help = "Examples:\n  tombolo remove harbour")]
    Remove {
        /// A name, a DID or the start of one
        peer: String,
    },
    /// Report the key of a peer as stolen, end an identity for good, or list what is revoked
    #[command(
        after_help = "Examples:\n  tombolo revoke harbour --stolen\n  tombolo revoke --self revocation.txt\n  tombolo revoke\n\nThe notice goes to every member, ahead of everything else. Peers that trust this node suspend the identity and ask their operators. --self takes the file that `init` wrote, on that node or on any of its peers: it ends the identity everywhere, and cannot be taken back. Without options the revocations are listed, with who does not know of them yet."
    )]
    Revoke {
        /// A name, a DID or the start of one
        #[arg(requires = "stolen")]
        peer: Option<String>,
        /// Its key is in the wrong hands
        #[arg(long, requires = "peer")]
        stolen: bool,
        /// The file with which an identity ends itself; - reads standard input
        #[arg(long = "self", value_name = "FILE", conflicts_with_all = ["peer", "stolen"])]
        own: Option<PathBuf>,
    },
    /// Set the policy of a document of yours: whether it goes by radio, whether outsiders may see it
    #[command(
        after_help = "Examples:\n  tombolo policy roster --radio never\n  tombolo policy state --radio brief\n  tombolo policy state --confidential no\n\nWithout options the present policy is shown. Only what is not confidential goes out on a radio that must send in clear."
    )]
    Policy {
        /// The document whose policy it is
        doc: String,
        /// never, brief (its brief in its place) or full
        #[arg(long, value_parser = radio_use)]
        radio: Option<RadioUse>,
        /// yes: only its readers may see it
        #[arg(long, value_parser = yes_or_no, value_name = "yes|no")]
        confidential: Option<bool>,
    },
    /// Show or change which links carry what, for this node, a peer, a document, a kind of link or a radio
    #[command(
        after_help = "Examples:\n  tombolo route\n  tombolo route lan-first\n  tombolo route tor-only --peer harbour\n  tombolo route mesh-first --doc plan\n  tombolo route --reset --peer harbour\n  tombolo route --link tor --only 02:00-05:00 --price 5\n  tombolo route --link mesh --last-resort yes\n  tombolo route --radio hill --price 5\n\nPREFERENCE is auto (the cheapest link that is in time), mesh-first (radio mesh, LAN, Tor), lan-first (LAN, Tor, mesh), tor-first (Tor, LAN, mesh), mesh-only, lan-only or tor-only. A change holds from the next message on, also after a restart, and stands before tombolo.toml; --reset goes back to it."
    )]
    Route {
        /// auto, mesh-first, lan-first, tor-first, mesh-only, lan-only or tor-only
        preference: Option<Preference>,
        /// Only for this peer
        #[arg(long)]
        peer: Option<String>,
        /// Only for this document
        #[arg(long, conflicts_with = "peer")]
        doc: Option<String>,
        /// The terms of a kind of link: lan, tor or mesh
        #[arg(long, value_parser = medium, group = "link_terms", conflicts_with_all = ["preference", "peer", "doc"])]
        link: Option<Medium>,
        /// The terms of one radio, in place of those of mesh
        #[arg(long, value_name = "NAME", group = "link_terms", conflicts_with_all = ["preference", "peer", "doc", "link"])]
        radio: Option<String>,
        /// Bytes cost money there
        #[arg(long, value_parser = yes_or_no, value_name = "yes|no", requires = "link_terms")]
        metered: Option<bool>,
        /// What a megabyte costs, in any unit
        #[arg(long, requires = "link_terms")]
        price: Option<u32>,
        /// Use it while no other link is in time
        #[arg(long, value_parser = yes_or_no, value_name = "yes|no", requires = "link_terms")]
        last_resort: Option<bool>,
        /// The hours in UTC at which it may be used, like 02:00-05:00, or always
        #[arg(long, value_name = "HOURS", requires = "link_terms")]
        only: Option<String>,
        /// Go back to what tombolo.toml has
        #[arg(long, conflicts_with = "preference")]
        reset: bool,
    },
    /// Make a shared document
    #[command(after_help = "Examples:\n  tombolo create plan\n  tombolo create report --snapshot")]
    Create {
        /// The name of the new document
        doc: String,
        /// Only this node writes it, always as a whole
        #[arg(long)]
        snapshot: bool,
    },
    /// Set one key of a document
    #[command(
        after_help = "Examples:\n  tombolo set plan monday/watch Ada\n  tombolo set plan monday/boats 3\n  tombolo set plan tuesday '{\"watch\": \"Grace\", \"boats\": [1, 4]}'\n  tombolo set harbour/plan monday/watch '\"3\"'   a text, at a peer's"
    )]
    Set {
        /// A document, or peer/document
        doc: String,
        /// a/b/c; a backslash escapes
        #[arg(value_parser = key, allow_hyphen_values = true)]
        key: KeyPath,
        /// JSON, else a text
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print a document or a part of it: a text bare, else JSON
    #[command(
        after_help = "Examples:\n  tombolo get plan\n  tombolo get plan monday/watch\n  tombolo get harbour/plan monday --json"
    )]
    Get {
        /// A document, or peer/document
        doc: String,
        /// a/b/c; a backslash escapes
        #[arg(value_parser = key, allow_hyphen_values = true)]
        key: Option<KeyPath>,
    },
    /// Delete a key and all keys below it
    #[command(after_help = "Examples:\n  tombolo del plan monday/watch\n  tombolo del plan monday")]
    Del {
        /// A document, or peer/document
        doc: String,
        /// a/b/c; a backslash escapes
        #[arg(value_parser = key, allow_hyphen_values = true)]
        key: KeyPath,
    },
    /// Delete a document: one of yours for all, a peer's here alone
    #[command(
        after_help = "Examples:\n  tombolo delete plan             its readers drop it, for good\n  tombolo delete attic/plan       keep nothing of a peer's document here\n  tombolo delete --undo attic/plan"
    )]
    Delete {
        /// A document of yours, or peer/document
        doc: String,
        /// Take a peer's document again that was deleted here
        #[arg(long)]
        undo: bool,
    },
    /// Make a document equal to a JSON file; keys not in it are deleted
    #[command(
        after_help = "Examples:\n  tombolo put plan plan.json\n  tombolo get plan --json > read.json\n  jq '.value | .monday.boats = 4' read.json > new.json\n  tombolo put plan new.json --base \"$(jq -r .version read.json)\"\n\nWith --base the write is refused if anything was written after the reading.\n\nWhere others write all the time, more than 5,000 keys, new or deleted, are written in several commits; what is not in the file is deleted last. If that is cut short, put the file again. With --whole or --base it is always one commit."
    )]
    Put {
        /// A document, or peer/document
        doc: String,
        /// The file; - reads standard input
        file: PathBuf,
        /// In one commit, even where a radio has to cut it into fragments
        #[arg(long)]
        whole: bool,
        /// Only if the document still has this version, which `get --json` shows
        #[arg(long, value_name = "VERSION")]
        base: Option<String>,
    },
    /// List the documents that people made; equal hashes mean equal content
    #[command(
        after_help = "Examples:\n  tombolo ls\n  tombolo ls --all\n  tombolo ls --json\n\n--all adds those that nodes write by themselves: states, audiences, briefs. With --json all are listed."
    )]
    Ls {
        /// Also the documents that nodes write by themselves
        #[arg(long)]
        all: bool,
    },
    /// Print changes as they come, one line each; needs a running node
    #[command(
        after_help = "Examples:\n  tombolo watch\n  tombolo watch plan\n  tombolo watch plan --snapshot --json\n  tombolo watch --json --since 5f3a09c1-118\n  tombolo watch --json | jq .document"
    )]
    Watch {
        /// Only events of this document
        doc: Option<String>,
        /// Go on behind this event: the `id` of the last line that was read
        #[arg(long, value_name = "ID")]
        since: Option<EventId>,
        /// Begin with what is there; with --since where it cannot go on
        #[arg(long)]
        snapshot: bool,
    },
    /// Raise an alarm when something happens to a peer or an app; list and remove such watches
    #[command(
        after_help = "Examples:\n  tombolo watch-for add hut\n  tombolo watch-for add hut --app web --disk-above 90\n  tombolo watch-for list\n  tombolo watch-for remove 1\n\nA watch may also stand in tombolo.toml, as [[watch]]. Section [notify] there names the program or the address that is notified."
    )]
    WatchFor {
        #[command(subcommand)]
        act: watch_for::WatchForAct,
    },
    /// Show the alarms of this node and of those that it trusts, or acknowledge one
    #[command(
        after_help = "Examples:\n  tombolo alarms\n  tombolo alarms ack 3f9c\n  tombolo alarms --json\n\nAn alarm that is acknowledged on one node is acknowledged on all: no further message goes out."
    )]
    Alarms {
        #[command(subcommand)]
        act: Option<alarms::AlarmsAct>,
    },
    /// Send a test message to the operator, and show what the program or the address answers
    #[command(after_help = "Examples:\n  tombolo notify test\n  tombolo notify test --json")]
    Notify {
        #[command(subcommand)]
        act: notify::NotifyAct,
    },
    /// Show a peer's state, or this node's own
    #[command(
        after_help = "Examples:\n  tombolo state\n  tombolo state harbour\n  tombolo state harbour --via rpc\n\nVia rpc the peer is asked now, by a JSON call to its onion address, as other programs of a federation do; that needs a running node."
    )]
    State {
        /// A name, a DID or the start of one
        peer: Option<String>,
        /// rpc: ask the peer now, by a JSON call over Tor
        #[arg(long, value_name = "rpc", value_parser = ["rpc"], requires = "peer")]
        via: Option<String>,
    },
    /// Show how things stand: links, peers, what is behind, what was refused
    #[command(after_help = "Examples:\n  tombolo status\n  tombolo status --json")]
    Status,
    /// Check what this node needs of its machine, each with the remedy; exit code 1 if something needs doing
    #[command(
        after_help = "Examples:\n  tombolo doctor\n  tombolo doctor --json\n\nRun it as the user that runs the node: permissions are judged for the user that asks. Tor is asked at the places in the section [tor] of tombolo.toml, else at the usual ones."
    )]
    Doctor,
    /// Show what the node refused and what happened, with reasons
    #[command(
        visible_alias = "logs",
        after_help = "Examples:\n  tombolo log\n  tombolo log --last 20\n  tombolo log --json\n\nThe log is in memory: the last 1,000 entries since `tombolo up`. What repeats within 10 minutes is one entry. With --json all entries, each with `kind` and `code`: what a program may go by."
    )]
    Log {
        /// How many of the newest entries
        #[arg(long, value_name = "N", default_value_t = 100)]
        last: usize,
    },
    /// Show every link and radio: who is there, when last heard, and why it is or is not used
    #[command(after_help = "Examples:\n  tombolo links\n  tombolo links --json")]
    Links,
    /// Explain which link carries a message, and what would change that
    #[command(
        after_help = "Examples:\n  tombolo why harbour             what would carry a document now\n  tombolo why plan@7              a state that `set` has named\n  tombolo why 0a1b2c3d4e5f        a deploy\n  tombolo why d17                 one decision\n  tombolo why                     the newest\n  tombolo why harbour --json | tombolo why --replay -\n\nThe last 1,000 decisions since the start are kept. --replay decides again, from the JSON alone."
    )]
    Why {
        /// A peer, a state like plan@7, the start of a deploy's id, or the id of a decision
        about: Option<String>,
        /// Make the decisions in a file again; - reads standard input
        #[arg(long, value_name = "FILE", conflicts_with = "about")]
        replay: Option<PathBuf>,
    },
    /// Show what each radio may send, has sent, and when the next state leaves
    #[command(after_help = "Examples:\n  tombolo airtime\n  tombolo airtime --json")]
    Airtime,
    /// Show values that lost against a concurrent write, or settle one
    #[command(
        after_help = "Examples:\n  tombolo conflicts\n  tombolo conflicts plan\n  tombolo conflicts plan monday/watch --keep       what is shown stays\n  tombolo conflicts plan monday/watch --take       what lost stands again\n  tombolo conflicts plan monday/watch --take --by boat"
    )]
    Conflicts {
        /// Only of this document
        doc: Option<String>,
        /// The key of the conflict to settle
        #[arg(value_parser = key, requires = "side")]
        key: Option<KeyPath>,
        /// The value that is shown stays
        #[arg(long, group = "side", requires = "key")]
        keep: bool,
        /// The value that lost stands again
        #[arg(long, group = "side", requires = "key")]
        take: bool,
        /// Whose value, where several lost
        #[arg(long, value_name = "PEER", requires = "take")]
        by: Option<String>,
    },
    /// Ask a trusted peer to install an app, or show what became of it
    #[command(
        after_help = "Examples:\n  tombolo deploy harbour web 1.2 --marketplace https://market.example --wait\n  tombolo deploy harbour web 1.2 --expires 7d\n  tombolo deploy mill web 1.2 --via rpc --wait\n  tombolo deploy --status\n  tombolo deploy --status 5f3a\n\nThe peer installs only what its operator has put into its catalogue, with a command of the operator, at most once. Where the peer cannot be reached, it is asked when it can, until the command expires. Via rpc it is called once, now; that needs a running node. If the answer does not come within 2 minutes, the outcome is unknown, and the call is not repeated."
    )]
    Deploy {
        /// A name, a DID or the start of one
        #[arg(required_unless_present = "status")]
        peer: Option<String>,
        /// The app's id in the peer's catalogue
        #[arg(required_unless_present = "status")]
        app: Option<String>,
        /// The version of the app to install
        #[arg(required_unless_present = "status")]
        version: Option<String>,
        /// Where the app comes from, as the peer's catalogue has it [default: what your own catalogue has]
        #[arg(long, value_name = "URL")]
        marketplace: Option<String>,
        /// Wait until the peer has answered what became of it; ends with 1 if it was not installed
        #[arg(long)]
        wait: bool,
        /// rpc: ask by a JSON call over Tor, once and now, as other programs of a federation do
        #[arg(long, value_name = "rpc", value_parser = ["rpc"], conflicts_with = "expires")]
        via: Option<String>,
        /// How long the command may wait for the peer, like 30m, 24h or 7d
        #[arg(long, default_value = "1d", value_name = "T")]
        expires: TimeSpan,
        /// Show the deploy with this id, or all, sent and received
        #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with_all = ["peer", "app", "version", "marketplace", "wait", "via"])]
        status: Option<Option<String>>,
    },
    /// List and check the apps that trusted peers may have installed here
    #[command(after_help = "Examples:\n  tombolo catalogue\n  tombolo catalogue --json")]
    Catalogue,
    /// Run four nodes on this machine, one of them by radio only, and measure them; leaves nothing behind
    #[command(
        after_help = "Examples:\n  tombolo demo\n  tombolo demo --json\n\nWhere a tor with a control port runs, a fifth node is reached through Tor only."
    )]
    Demo {
        /// Tor's SOCKS port, where it is not 127.0.0.1:9050
        #[arg(long, value_name = "ADDR:PORT", value_parser = endpoint)]
        tor_socks: Option<Endpoint>,
        /// Tor's control port, where it is not in one of the usual places
        #[arg(long, value_name = "PLACE", value_parser = endpoint)]
        tor_control: Option<Endpoint>,
    },
    #[command(flatten)]
    Tool(tools::ToolCommand),
}

/// What is done with the invites of this node.
#[derive(Debug, Subcommand)]
pub(super) enum InvitesAct {
    /// Take one back before it is used: its code works no more
    #[command(after_help = "Examples:\n  tombolo invites withdraw 5f3a")]
    Withdraw {
        /// Its id, or the start of it
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound_and_each_command_shows_examples() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  tombolo"), "{}", command.get_name());
        }
    }

    /// A terminal would break longer lines within a word. What is set by hand, examples and tables, is not longer either.
    #[test]
    fn no_line_of_help_is_longer_than_a_small_terminal() {
        let mut cli = Cli::command().term_width(80);
        cli.build();
        let mut pages = vec![cli];
        while let Some(mut page) = pages.pop() {
            let name = page.get_display_name().unwrap_or_default().to_owned();
            for text in [page.render_help().to_string(), page.render_long_help().to_string()] {
                let long = text.lines().find(|line| line.chars().count() > 80);
                assert_eq!(long, None, "{name}");
            }
            let by_hand = page.get_after_help().map(ToString::to_string).unwrap_or_default();
            let long = by_hand.lines().find(|line| line.starts_with(' ') && line.chars().count() > 79);
            assert_eq!(long, None, "{name}");
            pages.extend(page.get_subcommands().cloned());
        }
    }

    #[test]
    fn values_that_look_like_flags_are_values() {
        let cli = Cli::try_parse_from(["tombolo", "set", "plan", "a", "-5"]).unwrap();
        assert!(matches!(cli.command, CliCommand::Set { value, .. } if value == "-5"));
        let cli = Cli::try_parse_from(["tombolo", "set", "plan", "a", "-x y", "--json"]).unwrap();
        assert!(cli.json && matches!(cli.command, CliCommand::Set { value, .. } if value == "-x y"));
    }
}
