//! The scripted tor of the tests: services that are published and dialled, what goes wrong on request, and a real tor
//! (without a network) that answers the same commands in the same words.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic"
)]

mod scripted;

use data_encoding::HEXUPPER;
use scripted::client::{Controller, dial, echo, echoes};
use scripted::control::client_pair;
use scripted::door::Stream;
use scripted::{
    Answer, Dial, Host, Login, Network, Place, ScriptedControl, ScriptedSocks, ScriptedTor, Treatment, onion,
};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tombolo-scripted-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn cookie(&self) -> (Login, PathBuf) {
        let file = self.0.join("cookie");
        (Login::cookie(file.clone()), file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_service_that_one_tor_publishes_is_dialled_through_another() {
    let (folder, network) = (Folder::new(), Network::new());
    let (login, cookie) = folder.cookie();
    let mut at_home =
        ScriptedTor::start_at(&network, login, Place::Unix(folder.0.join("control")), Place::free());
    let away = ScriptedTor::start(&network, Login::Open);
    let key = onion::expanded(1);
    let name = onion::name(&onion::public_of_expanded(&key).unwrap());
    let (private, public) = client_pair(1);
    let add = format!(
        "ADD_ONION ED25519-V3:{key} Flags=DiscardPK,V3Auth Port=8662,{} Port=9,127.0.0.1:9 ClientAuthV3={public}",
        echo()
    );
    let refused = |port| dial(away.socks.at(), "a", &name, port).unwrap_err();

    assert_eq!(refused(8662), 0xF0);
    let mut controller = Controller::logged_in(at_home.control.at(), &cookie);
    assert_eq!(controller.ask(&add).last().unwrap(), "250 OK");
    assert_eq!(refused(8662), 0xF4);
    let mut other = Controller::to(away.control.at());
    assert_eq!(other.ask("AUTHENTICATE"), ["250 OK"]);
    other.ask(&format!("ONION_CLIENT_AUTH_ADD {name} x25519:{}", client_pair(2).0));
    assert_eq!(refused(8662), 0xF5);
    away.socks.set_extended(false);
    assert_eq!(refused(8662), 0x04);
    away.socks.set_extended(true);
    other.ask(&format!("ONION_CLIENT_AUTH_ADD {name} x25519:{private}"));
    let stream = dial(away.socks.at(), "b", &name, 8662).unwrap();
    assert!(echoes(&stream));
    assert_eq!((refused(80), refused(9)), (0x05, 0x01));
    assert_eq!(dial(away.socks.at(), "a", "notanonion", 80).unwrap_err(), 0xF6);

    // Its tor ends: the stream as well, and a service without its control connection is gone until it is added again.
    at_home.kill();
    assert!(!echoes(&stream));
    assert_eq!(refused(8662), 0xF2);
    network.forget();
    assert_eq!(refused(8662), 0xF0);
    at_home.revive();
    let mut controller = Controller::logged_in(at_home.control.at(), &cookie);
    assert_eq!(controller.ask(&add).last().unwrap(), "250 OK");
    let stream = dial(away.socks.at(), "c", &name, 8662).unwrap();
    assert!(echoes(&stream));
    drop(controller);
    at_home.control.cut();
    let begun = Instant::now();
    while network.services().contains_key(&name) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(echoes(&stream), "a stream outlives the publication of its service");

    let users: Vec<String> = away.socks.users_of(&format!("{name}.onion"));
    assert_eq!((users[0].as_str(), users.last().unwrap().as_str()), ("a", "c"));
    assert_eq!(away.control.count("ONION_CLIENT_AUTH_ADD"), 2);
}

#[test]
fn a_frozen_tor_holds_its_streams_and_a_silent_one_ends_them_at_one_end_only() {
    let network = Network::new();
    let (mut at_home, away) =
        (ScriptedTor::start(&network, Login::Open), ScriptedTor::start(&network, Login::Open));
    let mut controller = Controller::to(at_home.control.at());
    controller.ask("AUTHENTICATE");
    let answer = controller.ask(&format!("ADD_ONION NEW:BEST Flags=DiscardPK Port=7,{}", echo()));
    let name = answer[0].strip_prefix("250-ServiceID=").unwrap().to_owned();
    let stream = dial(away.socks.at(), "a", &name, 7).unwrap();
    at_home.freeze(true);
    let held = std::thread::spawn(move || (echoes(&stream), stream));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!held.is_finished());
    at_home.freeze(false);
    let (echoed, stream) = held.join().unwrap();
    assert!(echoed);

    network.set_silent(true);
    at_home.kill();
    let Stream::Tcp(stream) = &stream else { unreachable!("the port is one of TCP") };
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    (&*stream).write_all(b"hello").unwrap();
    let error = (&*stream).read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_socks_server_does_what_it_was_asked_for() {
    let network = Network::new();
    let name = onion::name(&[7; 32]);
    network.publish(&name, 7, Place::Tcp(echo()));
    let socks = ScriptedSocks::start(&network);
    let outcome = |treatment| {
        socks.next(treatment);
        dial(socks.at(), "peer-1", &name, 7)
    };
    for code in [0x01, 0x04, 0x05, 0xF0, 0xF3, 0xF7] {
        assert_eq!(outcome(Treatment::Code(code)).unwrap_err(), code);
    }
    assert_eq!(outcome(Treatment::CutReply(4)).unwrap_err(), 0xFF);
    assert_eq!(outcome(Treatment::Reply(vec![4; 3])).unwrap_err(), 0xFF);
    assert_eq!(outcome(Treatment::Greeting(vec![])).unwrap_err(), 0xFE);
    assert_eq!(outcome(Treatment::BadLogin).unwrap_err(), 0xFD);
    assert!(outcome(Treatment::Late(Duration::from_millis(10))).is_ok());
    assert!(!echoes(&outcome(Treatment::CutStream(4)).unwrap()));
    let stream = outcome(Treatment::CutStream(5)).unwrap();
    assert!(echoes(&stream) && !echoes(&stream));
    let stalled = std::thread::scope(|scope| {
        let stream = outcome(Treatment::Stall(3)).unwrap();
        let Stream::Tcp(stream) = stream else { unreachable!("the port is one of TCP") };
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        scope.spawn(move || !echoes(&Stream::Tcp(stream))).join().unwrap()
    });
    assert!(stalled);
    let hung = socks.at().connect().unwrap();
    socks.next(Treatment::Hang);
    let before = socks.dials().len();
    (&mut &hung).write_all(&[&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80][..]].concat()).unwrap();
    // Its request is there before the next one, which would be left hanging in its place.
    for _ in 0..500 {
        if socks.dials().len() > before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(echoes(&dial(socks.at(), "peer-1", &name.to_uppercase(), 7).unwrap()));
    let dials = socks.dials();
    assert_eq!(
        dials[0],
        Dial {
            command: 1,
            user: Some("peer-1".into()),
            password: Some("x".into()),
            host: Host::Name(format!("{name}.onion")),
            port: 7
        }
    );
    let looked_up = Host::Ip([127, 0, 0, 1].into());
    assert!(dials.iter().any(|dial| dial.host == looked_up && dial.user.is_none()), "{dials:?}");
}

#[test]
fn a_control_port_goes_by_its_script() {
    let folder = Folder::new();
    let (_, cookie) = folder.cookie();
    let control = ScriptedControl::start(Login::Password("a \"b\" \\".into()), Place::free());
    control.greet(b"650 STATUS_GENERAL NOTICE X\r\n");
    control
        .script(&[("PROTOCOLINFO", "250-PROTOCOLINFO 2\n250 OK"), ("GETINFO", "552 Unrecognized key \"x\"")]);
    let mut controller = Controller::to(control.at());
    assert_eq!(controller.line().unwrap(), "650 STATUS_GENERAL NOTICE X");
    assert_eq!(controller.ask("PROTOCOLINFO 1"), ["250-PROTOCOLINFO 2", "250 OK"]);
    assert_eq!(controller.ask(r#"AUTHENTICATE "a \"b\" \\""#), ["250 OK"]);
    assert_eq!(controller.ask("GETINFO version"), ["552 Unrecognized key \"x\""]);
    assert_eq!(controller.ask("GETINFO version"), ["250-version=0.4.9.11", "250 OK"]);
    control.bootstrap(45);
    assert!(controller.line().unwrap().contains("PROGRESS=45"));
    control.greet(b"");
    control.once("SIGNAL", Answer::Before(b"650 OK\r\n".to_vec()));
    assert_eq!(controller.ask("SIGNAL NEWNYM"), ["250 OK"]);
    assert_eq!(controller.line().unwrap(), "650 OK");
    control.once("GETINFO", Answer::Slowly(b"250 OK\r\n".to_vec(), Duration::from_millis(1)));
    assert_eq!(controller.ask("GETINFO version"), ["250 OK"]);
    control.once("GETINFO", Answer::last(&["250-version=0.4"]));
    assert_eq!(controller.ask("GETINFO version"), ["250-version=0.4", "EOF"]);

    control.set_login(Login::SafeCookie(cookie.clone()));
    control.once("AUTHCHALLENGE", Answer::wrong_server_hash());
    let mut controller = Controller::to(control.at());
    assert!(controller.ask("AUTHCHALLENGE SAFECOOKIE 00")[0].contains("SERVERHASH=0000"));
    assert!(controller.prove(&cookie));
    let mut plain = Controller::to(control.at());
    let secret = HEXUPPER.encode(&std::fs::read(&cookie).unwrap());
    assert!(plain.ask(&format!("AUTHENTICATE {secret}"))[0].starts_with("515 "));
    control.once("GETINFO", Answer::Endless(300_000));
    (&mut &controller.stream).write_all(b"GETINFO version\r\n").unwrap();
    let mut long = vec![0; 300_000];
    controller.lines.read_exact(&mut long).unwrap();
    assert!(long.iter().all(|byte| *byte == b'A'));
    assert_eq!((control.rules_left(), control.connections()), (0, 3));
}

/// A real tor that reaches no network.
struct LoneTor {
    child: Child,
    control: Place,
    cookie: PathBuf,
}

impl LoneTor {
    fn start(folder: &Folder) -> Option<Self> {
        let data = folder.0.join("tor");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let (port, empty) = (folder.0.join("port"), folder.0.join("empty"));
        std::fs::write(&empty, "").unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let program =
            std::env::split_paths(&path).map(|folder| folder.join("tor")).find(|file| file.is_file());
        let Some(program) = program else {
            println!("SKIPPED: needs tor (apt install tor)");
            return None;
        };
        let mut command = Command::new(program);
        command.arg("-f").arg(&empty).arg("--defaults-torrc").arg(&empty).arg("--DataDirectory").arg(&data);
        command.args(["--ControlPort", "auto", "--CookieAuthentication", "1", "--SocksPort", "0"]);
        command.args([
            "--DisableNetwork",
            "1",
            "--__OwningControllerProcess",
            &std::process::id().to_string(),
        ]);
        command.arg("--ControlPortWriteToFile").arg(&port);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut tor = Self { child, control: Place::free(), cookie: data.join("control_auth_cookie") };
        let begun = Instant::now();
        tor.control = loop {
            let text = std::fs::read_to_string(&port).unwrap_or_default();
            if let Some(at) = text.strip_prefix("PORT=").filter(|_| text.ends_with('\n')) {
                break Place::Tcp(at.trim().parse().unwrap());
            }
            assert!(begun.elapsed() < PATIENCE, "tor has no control port");
            std::thread::sleep(Duration::from_millis(20));
        };
        Some(tor)
    }
}

impl Drop for LoneTor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines without what differs between versions.
fn without_versions(lines: Vec<String>) -> Vec<String> {
    let cut = |line: String| match line.find("ersion=").or(line.find("Tor=\"")) {
        Some(at) => line[..at].to_owned(),
        None => line,
    };
    lines.into_iter().map(cut).collect()
}

#[test]
fn a_real_tor_answers_in_the_same_words() {
    let folder = Folder::new();
    let Some(tor) = LoneTor::start(&folder) else { return };
    let scripted = ScriptedControl::start(Login::Cookie(tor.cookie.clone()), Place::free());
    let same = |commands: &[&str], logged_in: bool| {
        let [mut real, mut ours] = [&tor.control, scripted.at()]
            .map(|at| if logged_in { Controller::logged_in(at, &tor.cookie) } else { Controller::to(at) });
        for command in commands {
            let (real, ours) = (without_versions(real.ask(command)), without_versions(ours.ask(command)));
            assert_eq!(real, ours, "{command}: tor's answer, and ours");
        }
    };
    // The login.
    same(&["PROTOCOLINFO 1", "PROTOCOLINFO 1", "again"], false);
    same(&["GETINFO version", "after it"], false);
    same(&["AUTHENTICATE", "after it"], false);
    same(&[&format!("AUTHENTICATE {}", "00".repeat(32)), "after it"], false);
    same(&["AUTHENTICATE zz"], false);
    same(&["AUTHENTICATE \"a password\""], false);
    same(&["AUTHCHALLENGE SAFECOOKIE zz"], false);
    same(&["AUTHCHALLENGE COOKIE 00"], false);
    same(&["QUIT", "after it"], false);
    for at in [&tor.control, scripted.at()] {
        assert!(Controller::to(at).prove(&tor.cookie));
        let mut wrong = Controller::to(at);
        wrong.ask("AUTHCHALLENGE SAFECOOKIE 00");
        let line = "515 Authentication failed: Safe cookie response did not match expected value.";
        assert_eq!(wrong.ask(&format!("AUTHENTICATE {}", "00".repeat(32))), [line]);
    }
    // Services and keys.
    let (key, other) = (onion::expanded(1), onion::expanded(2));
    let (private, public) = client_pair(1);
    let name = onion::name(&onion::public_of_expanded(&key).unwrap());
    let commands = [
        "PROTOCOLINFO 1".to_owned(),
        "GETINFO version".to_owned(),
        "GETINFO nonsense".to_owned(),
        "GETINFO onions/current onions/detached".to_owned(),
        "NONSENSE".to_owned(),
        "SETEVENTS HS_DESC STATUS_CLIENT".to_owned(),
        "SETEVENTS NONSENSE".to_owned(),
        "ADD_ONION".to_owned(),
        "ADD_ONION NEW:ED25519-V3".to_owned(),
        "ADD_ONION NEW:ED25519-V3 Port=0".to_owned(),
        "ADD_ONION NEW:RSA1024 Port=80".to_owned(),
        "ADD_ONION ED25519-V3:xyz Port=80".to_owned(),
        "ADD_ONION NEW:BEST Flags=Nonsense Port=80".to_owned(),
        "ADD_ONION NEW:BEST Port=80,x:y".to_owned(),
        "ADD_ONION NEW:BEST Port=80 Nonsense=5".to_owned(),
        "ADD_ONION NEW:BEST Flags=DiscardPK,V3Auth Port=80".to_owned(),
        "ADD_ONION NEW:BEST Flags=V3Auth ClientAuthV3=aa Port=80".to_owned(),
        format!("ADD_ONION NEW:BEST ClientAuthV3={public} Port=80"),
        format!(
            "ADD_ONION ED25519-V3:{key} Flags=DiscardPK,V3Auth MaxStreams=9 Port=80,unix:/x Port=8662,127.0.0.1:5 ClientAuthV3={public}"
        ),
        format!("ADD_ONION ED25519-V3:{key} Port=80"),
        "GETINFO onions/current".to_owned(),
        format!("ADD_ONION ED25519-V3:{other} Port=81"),
        format!("DEL_ONION {name}"),
        format!("DEL_ONION {name}"),
        "DEL_ONION abc".to_owned(),
        format!("ADD_ONION ED25519-V3:{key} Flags=Detach Port=80"),
        "GETINFO onions/detached".to_owned(),
        format!("DEL_ONION {name}"),
        format!("ONION_CLIENT_AUTH_ADD {name} x25519:{private}"),
        format!("ONION_CLIENT_AUTH_ADD {name} x25519:{private}"),
        format!("ONION_CLIENT_AUTH_ADD {name} x25519:abc"),
        format!("ONION_CLIENT_AUTH_ADD {name} rsa:abc"),
        format!("ONION_CLIENT_AUTH_ADD {name}"),
        "ONION_CLIENT_AUTH_ADD abc x25519:abc".to_owned(),
        format!("ONION_CLIENT_AUTH_REMOVE {name}"),
        format!("ONION_CLIENT_AUTH_REMOVE {name}"),
        "ONION_CLIENT_AUTH_REMOVE abc".to_owned(),
        "SIGNAL NEWNYM".to_owned(),
        "QUIT".to_owned(),
    ];
    let services = |at| {
        let mut controller = Controller::logged_in(at, &tor.cookie);
        for key in [&key, &other] {
            controller.ask(&format!("ADD_ONION ED25519-V3:{key} Port=80"));
        }
        let mut names = controller.block("GETINFO onions/current");
        names.sort();
        names
    };
    assert_eq!(services(&tor.control), services(scripted.at()));
    same(&commands.each_ref().map(String::as_str), true);
    println!("totals: a real tor and the scripted one agree on {} commands", commands.len());
}
