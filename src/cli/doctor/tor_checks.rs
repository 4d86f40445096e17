//! The verdicts on a tor beside the node: facts in, findings out.

use std::io;
use std::path::PathBuf;

use tombolo_transports::tor::Endpoint;
use tombolo_transports::tor::control::{BootstrapPhase, ProtocolInfo};

use super::Finding;
use super::permission::{FileFacts, LocalUser, READ, WRITE, blocked_at, described, group_remedy};
use super::tor_probe::{ControlAnswer, ControlLogin, ControlSeen, SocksAnswer};

/// What was asked of tor, and what it answered.
#[derive(Debug)]
pub(super) struct TorFacts {
    /// Whether the settings let the node use tor.
    pub(super) enabled: bool,
    /// Whether the settings name a place of tor.
    pub(super) is_named: bool,
    /// Whether the operator has an onion service of its own, which needs no control port.
    pub(super) own_service: bool,
    /// Whether the settings have a password for the control port.
    pub(super) has_password: bool,
    pub(super) socks: (Endpoint, SocksAnswer),
    /// The control ports that were tried.
    pub(super) controls: Vec<ControlFacts>,
    /// The cookie file, if the control port that answered has one.
    pub(super) cookie: Option<CookieFacts>,
}

#[derive(Debug)]
pub(super) struct ControlFacts {
    pub(super) place: Endpoint,
    pub(super) answer: ControlAnswer,
    /// Of a socket: the files of its path, from the root.
    pub(super) files: Vec<FileFacts>,
}

#[derive(Debug)]
pub(super) struct CookieFacts {
    pub(super) path: PathBuf,
    /// Whether it could be read.
    pub(super) read: Result<(), io::ErrorKind>,
    /// The files of its path, from the root.
    pub(super) files: Vec<FileFacts>,
}

const NO_CONTROL: &str = "write `ControlPort 9051` and `CookieAuthentication 1` in its torrc, and reload tor; Debian's tor has the \
    socket /run/tor/control";

pub(super) fn tor(facts: &TorFacts, user: &LocalUser) -> Vec<Finding> {
    if !facts.enabled {
        return vec![Finding::ok("tor", "off by the settings")];
    }
    let socks_answers = matches!(facts.socks.1, SocksAnswer::Socks { .. });
    let mut found = socks(facts);
    if socks_answers || facts.is_named || facts.controls.iter().any(is_there) {
        found.extend(control(facts, user));
    }
    found
}

/// Whether something is at a control port, open or not.
fn is_there(control: &ControlFacts) -> bool {
    !matches!(
        control.answer,
        ControlAnswer::Silent(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    )
}

fn socks(facts: &TorFacts) -> Vec<Finding> {
    let (place, answer) = &facts.socks;
    match answer {
        SocksAnswer::Socks { extended } => {
            let mut found = vec![Finding::ok("tor", format!("its SOCKS port answers at {place}"))];
            match extended {
                Some(true) => found.push(Finding::ok("tor errors", "tor gives the reason when a peer is not reached")),
                Some(false) => found.push(Finding::warning(
                    "tor errors",
                    format!("tor does not give the reason when a peer is not reached: {place} has no extended errors"),
                    "write `SocksPort 9050 ExtendedErrors` in its torrc, and reload tor",
                )),
                None => {}
            }
            found
        }
        SocksAnswer::NotSocks => vec![Finding::needs_doing(
            "tor",
            format!("what listens at {place} is no SOCKS port of tor"),
            "correct `socks` in the section [tor]",
        )],
        SocksAnswer::Silent(kind) if facts.is_named => vec![Finding::needs_doing(
            "tor",
            format!("no tor answers at {place}: {kind}"),
            "start tor (`systemctl start tor`), or correct `socks` in the section [tor]",
        )],
        SocksAnswer::Silent(kind) => vec![Finding::warning(
            "tor",
            format!(
                "no tor answers at {place} ({kind}): peers are met on the local network and by radio only"
            ),
            "install and start one (`apt install tor`), if peers are to be reached over Tor",
        )],
    }
}

fn control(facts: &TorFacts, user: &LocalUser) -> Vec<Finding> {
    if facts.own_service {
        return vec![Finding::ok("tor control", "not needed: the settings name an onion service")];
    }
    for control in &facts.controls {
        if let ControlAnswer::Control(seen) = &control.answer {
            return authenticated(facts, control, seen, user);
        }
    }
    let denied = facts
        .controls
        .iter()
        .find(|control| matches!(control.answer, ControlAnswer::Silent(io::ErrorKind::PermissionDenied)));
    if let Some(control) = denied {
        return vec![denied_control(control, user)];
    }
    let tried: Vec<String> = facts.controls.iter().map(|control| control.place.to_string()).collect();
    if let Some(other) = facts.controls.iter().find(|control| control.answer == ControlAnswer::NotControl) {
        let reason = format!("what listens at {} is no control port of tor", other.place);
        return vec![Finding::needs_doing("tor control", reason, "correct `control` in the section [tor]")];
    }
    let reason = format!("no control port at {}: peers cannot dial this node over Tor", tried.join(", "));
    vec![match facts.is_named {
        true => Finding::needs_doing("tor control", reason, NO_CONTROL),
        false => Finding::warning("tor control", reason, NO_CONTROL),
    }]
}

/// The findings on a control port that answers.
fn authenticated(
    facts: &TorFacts,
    control: &ControlFacts,
    seen: &ControlSeen,
    user: &LocalUser,
) -> Vec<Finding> {
    let version = match seen.offered.version.as_str() {
        "" => String::new(),
        version => format!(", tor {version}"),
    };
    let answers = Finding::ok("tor control", format!("{} answers{version}", control.place));
    let judged = authentication(facts, &seen.offered, user);
    let (proof, start) = match &seen.login {
        ControlLogin::Open(phase) => (judged, Some(bootstrap(phase))),
        // A finding that names what is wrong stays.
        ControlLogin::Failed(why) => {
            (Some(judged.filter(|finding| !finding.is_ok()).unwrap_or_else(|| login_failed(why))), None)
        }
    };
    [Some(answers), proof, start].into_iter().flatten().collect()
}

fn login_failed(why: &str) -> Finding {
    let reason = format!("the control port does not let this node in: {why}");
    Finding::needs_doing("tor cookie", reason, "correct `cookie` or `password` in the section [tor]")
}

fn denied_control(control: &ControlFacts, user: &LocalUser) -> Finding {
    let open = "in its torrc: `ControlSocket PATH GroupWritable RelaxDirModeCheck`";
    match blocked_at(user, &control.files, READ | WRITE) {
        Some(file) => {
            let is_socket = control.files.last() == Some(file);
            let bits = if is_socket { READ | WRITE } else { super::permission::SEARCH };
            let remedy = group_remedy(user, file, bits)
                .unwrap_or_else(|| format!("{open}, then `adduser {} {}` as root", user.name, file.group));
            let reason = format!(
                "{} may not open the control socket {}: {}",
                user.name,
                control.place,
                described(file)
            );
            Finding::needs_doing("tor control", reason, remedy)
        }
        None => {
            let reason =
                format!("the system does not let {} open the control port {}", user.name, control.place);
            Finding::needs_doing("tor control", reason, open)
        }
    }
}

/// Whether the node can authenticate itself.
fn authentication(facts: &TorFacts, offered: &ProtocolInfo, user: &LocalUser) -> Option<Finding> {
    if offered.null {
        let remedy =
            "write `CookieAuthentication 1` in its torrc: else any program on this machine can control tor";
        return Some(Finding::warning("tor cookie", "the control port asks for no proof", remedy));
    }
    match &facts.cookie {
        Some(cookie) => Some(cookie_file(cookie, user)),
        None if offered.password && facts.has_password => {
            Some(Finding::ok("tor cookie", "the settings have a password for the control port"))
        }
        None if offered.password => Some(Finding::needs_doing(
            "tor cookie",
            "the control port asks for a password, and the settings have none",
            "set `password` in the section [tor], or write `CookieAuthentication 1` in torrc",
        )),
        None => None,
    }
}

fn cookie_file(cookie: &CookieFacts, user: &LocalUser) -> Finding {
    let path = cookie.path.display();
    match (cookie.read, blocked_at(user, &cookie.files, READ)) {
        (Ok(()), _) => Finding::ok("tor cookie", format!("{path} can be read")),
        (Err(io::ErrorKind::NotFound), _) => Finding::needs_doing(
            "tor cookie",
            format!("the cookie file {path} is not there"),
            "does tor run in a container or on another machine? Then name the file: `cookie` in the section [tor]",
        ),
        (Err(io::ErrorKind::PermissionDenied), Some(file)) => {
            let is_cookie = cookie.files.last() == Some(file);
            let bits = if is_cookie { READ } else { super::permission::SEARCH };
            let open = "write `CookieAuthFileGroupReadable 1` in its torrc, and reload tor";
            let remedy = group_remedy(user, file, bits)
                .unwrap_or_else(|| format!("{open}; then `adduser {} {}` as root", user.name, file.group));
            let reason = format!("{} may not read the cookie file {path}: {}", user.name, described(file));
            Finding::needs_doing("tor cookie", reason, remedy)
        }
        (Err(kind), _) => Finding::needs_doing(
            "tor cookie",
            format!("the cookie file {path} cannot be read: {kind}"),
            "correct `cookie` in the section [tor]",
        ),
    }
}

fn bootstrap(phase: &BootstrapPhase) -> Finding {
    let BootstrapPhase { percent, summary } = phase;
    match percent {
        100 => Finding::ok("tor start", "tor has reached the network"),
        _ => Finding::warning(
            "tor start",
            format!("tor is still starting: {percent} % ({summary})"),
            "wait a minute; if it stays so, tor cannot reach the network: its log has the reason",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckVerdict;
    use super::super::permission::tests::{ada, file};
    use super::*;

    fn phase(percent: u8) -> BootstrapPhase {
        BootstrapPhase { percent, summary: "Connecting".to_owned() }
    }

    /// A control port that offers these ways, and let this program in.
    fn info(methods: &[&str]) -> ControlSeen {
        let has = |method: &str| methods.contains(&method);
        let offered = ProtocolInfo {
            null: has("NULL"),
            cookie: has("COOKIE"),
            safe_cookie: has("SAFECOOKIE"),
            password: has("HASHEDPASSWORD"),
            version: "0.4.9".to_owned(),
            ..ProtocolInfo::default()
        };
        ControlSeen { offered, login: ControlLogin::Open(phase(100)) }
    }

    fn facts(socks: SocksAnswer, control: ControlAnswer) -> TorFacts {
        TorFacts {
            enabled: true,
            is_named: false,
            own_service: false,
            has_password: false,
            socks: ("127.0.0.1:9050".parse().unwrap(), socks),
            controls: vec![ControlFacts {
                place: "unix:/run/tor/control".parse().unwrap(),
                answer: control,
                files: vec![],
            }],
            cookie: None,
        }
    }

    const UP: SocksAnswer = SocksAnswer::Socks { extended: Some(true) };
    const GONE: SocksAnswer = SocksAnswer::Silent(io::ErrorKind::ConnectionRefused);

    fn no_control() -> ControlAnswer {
        ControlAnswer::Silent(io::ErrorKind::NotFound)
    }

    /// Check and verdict of each finding.
    fn verdicts(facts: &TorFacts) -> Vec<(&'static str, CheckVerdict)> {
        tor(facts, &ada()).iter().map(|finding| (finding.check, finding.verdict)).collect()
    }

    fn finding(facts: &TorFacts, check: &str) -> Finding {
        tor(facts, &ada()).into_iter().find(|finding| finding.check == check).unwrap()
    }

    #[test]
    fn a_machine_without_tor_needs_nothing_unless_the_settings_name_one() {
        let none = facts(GONE, no_control());
        assert_eq!(verdicts(&none), [("tor", CheckVerdict::Warning)]);
        let named = TorFacts { is_named: true, ..none };
        assert_eq!(
            verdicts(&named),
            [("tor", CheckVerdict::NeedsDoing), ("tor control", CheckVerdict::NeedsDoing)]
        );
        let off = TorFacts { enabled: false, ..named };
        assert_eq!(verdicts(&off), [("tor", CheckVerdict::Ok)]);
    }

    #[test]
    fn a_port_without_extended_errors_gets_the_torrc_line() {
        let plain =
            facts(SocksAnswer::Socks { extended: Some(false) }, ControlAnswer::Control(info(&["NULL"])));
        let finding = finding(&plain, "tor errors");
        assert_eq!(finding.verdict, CheckVerdict::Warning);
        assert!(finding.remedy.unwrap().contains("SocksPort 9050 ExtendedErrors"));
        let other = facts(SocksAnswer::NotSocks, no_control());
        assert_eq!(verdicts(&other), [("tor", CheckVerdict::NeedsDoing)]);
    }

    #[test]
    fn a_closed_control_socket_names_file_owner_group_and_remedy() {
        let mut denied = facts(UP, ControlAnswer::Silent(io::ErrorKind::PermissionDenied));
        denied.controls[0].files = vec![
            file("/", 0, 0, 0o755),
            file("/run/tor", 108, 108, 0o755),
            file("/run/tor/control", 108, 108, 0o660),
        ];
        let closed = finding(&denied, "tor control");
        assert_eq!(closed.verdict, CheckVerdict::NeedsDoing);
        for part in ["/run/tor/control", "owner debian-tor", "group debian-tor", "mode 660", "ada"] {
            assert!(closed.reason.contains(part), "{part}: {}", closed.reason);
        }
        assert!(closed.remedy.unwrap().contains("`adduser ada debian-tor`"));
        // The folder stands in the way, and its group may pass.
        denied.controls[0].files[1].mode = 0o750;
        let closed = finding(&denied, "tor control");
        assert!(
            closed.reason.contains("/run/tor (owner")
                && closed.remedy.unwrap().contains("adduser ada debian-tor")
        );
        // The group may not either.
        denied.controls[0].files[1].mode = 0o755;
        denied.controls[0].files[2].mode = 0o600;
        assert!(finding(&denied, "tor control").remedy.unwrap().contains("GroupWritable"));
    }

    #[test]
    fn a_cookie_that_is_not_readable_or_not_there_has_its_own_remedy() {
        let cookie = |read, mode| CookieFacts {
            path: "/run/tor/control.authcookie".into(),
            read,
            files: vec![file("/", 0, 0, 0o755), file("/run/tor/control.authcookie", 108, 108, mode)],
        };
        let with = |cookie: CookieFacts| TorFacts {
            cookie: Some(cookie),
            ..facts(UP, ControlAnswer::Control(info(&["COOKIE", "SAFECOOKIE"])))
        };
        let denied = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(finding(&with(cookie(Ok(()), 0o640)), "tor cookie").verdict, CheckVerdict::Ok);
        let group = finding(&with(cookie(denied, 0o640)), "tor cookie");
        assert!(
            group.remedy.unwrap().contains("`adduser ada debian-tor`")
                && group.verdict == CheckVerdict::NeedsDoing
        );
        let closed = finding(&with(cookie(denied, 0o600)), "tor cookie");
        assert!(closed.remedy.unwrap().contains("CookieAuthFileGroupReadable 1"));
        let missing = finding(&with(cookie(Err(io::ErrorKind::NotFound), 0o640)), "tor cookie");
        assert!(missing.reason.contains("is not there") && missing.verdict == CheckVerdict::NeedsDoing);
    }

    #[test]
    fn each_way_to_authenticate_is_judged() {
        let with = |methods: &[&str], has_password: bool| TorFacts {
            has_password,
            ..facts(UP, ControlAnswer::Control(info(methods)))
        };
        assert_eq!(finding(&with(&["NULL"], false), "tor cookie").verdict, CheckVerdict::Warning);
        assert_eq!(
            finding(&with(&["HASHEDPASSWORD"], false), "tor cookie").verdict,
            CheckVerdict::NeedsDoing
        );
        assert_eq!(finding(&with(&["HASHEDPASSWORD"], true), "tor cookie").verdict, CheckVerdict::Ok);
    }

    #[test]
    fn how_far_tor_has_come_is_shown_where_it_answers_that() {
        let at = |percent: u8| {
            let login = ControlLogin::Open(phase(percent));
            facts(UP, ControlAnswer::Control(ControlSeen { login, ..info(&["NULL"]) }))
        };
        assert_eq!(finding(&at(100), "tor start").verdict, CheckVerdict::Ok);
        let starting = finding(&at(45), "tor start");
        assert!(starting.verdict == CheckVerdict::Warning && starting.reason.contains("45 % (Connecting)"));
    }

    #[test]
    fn a_login_that_fails_is_named_unless_its_cause_is() {
        let failed = |methods: &[&str]| {
            let login = ControlLogin::Failed("tor refused AUTHENTICATE: 515 Bad password".to_owned());
            let answer = ControlAnswer::Control(ControlSeen { login, ..info(methods) });
            TorFacts { has_password: true, ..facts(UP, answer) }
        };
        let wrong = finding(&failed(&["HASHEDPASSWORD"]), "tor cookie");
        assert!(wrong.verdict == CheckVerdict::NeedsDoing && wrong.reason.contains("515 Bad password"));
        assert!(verdicts(&failed(&["HASHEDPASSWORD"])).iter().all(|(check, _)| *check != "tor start"));
        let unset = TorFacts { has_password: false, ..failed(&["HASHEDPASSWORD"]) };
        assert!(finding(&unset, "tor cookie").reason.contains("the settings have none"));
        assert!(finding(&failed(&["NEWTHING"]), "tor cookie").reason.contains("does not let this node in"));
    }

    #[test]
    fn tor_without_a_control_port_can_only_dial() {
        let bare = facts(UP, no_control());
        assert_eq!(finding(&bare, "tor control").verdict, CheckVerdict::Warning);
        let own = TorFacts { own_service: true, ..facts(UP, no_control()) };
        assert_eq!(finding(&own, "tor control").verdict, CheckVerdict::Ok);
        let other = facts(UP, ControlAnswer::NotControl);
        assert_eq!(finding(&other, "tor control").verdict, CheckVerdict::NeedsDoing);
    }
}
