//! The checks of a real machine, and of what is put in its way here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::NodeDir;
use super::tor::scripted::{Login, Network, ScriptedTor};

/// The user `nobody`, which no file of these tests belongs to at first.
const NOBODY: u32 = 65_534;

/// Runs the checks; the exit code is 1 exactly if something needs doing.
fn doctor(place: &NodeDir) -> Vec<Value> {
    findings(&mut place.command(&["doctor", "--json"]))
}

fn findings(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {error}"));
    let needed = report["needs_doing"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(needed > 0)), "{text}");
    assert_eq!(error, "", "what needs doing is on standard output");
    let checks = report["checks"].as_array().unwrap().clone();
    let count = |verdict: &str| checks.iter().filter(|check| check["verdict"] == verdict).count() as u64;
    assert_eq!((count("needs_doing"), count("warning")), (needed, report["warnings"].as_u64().unwrap()));
    for check in &checks {
        assert_eq!(check["remedy"].is_string(), check["verdict"] != "ok", "{check}");
    }
    checks
}

/// The verdict of a check, with its reason and remedy in one text.
fn of(checks: &[Value], name: &str) -> (String, String) {
    let check = checks
        .iter()
        .find(|check| check["check"] == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:?}"));
    let text =
        format!("{} {}", check["reason"].as_str().unwrap(), check["remedy"].as_str().unwrap_or_default());
    (check["verdict"].as_str().unwrap().to_owned(), text)
}

fn expect(checks: &[Value], name: &str, verdict: &str, words: &[&str]) {
    let (found, text) = of(checks, name);
    assert_eq!(found, verdict, "{name}: {text}");
    for word in words {
        assert!(text.contains(word), "{name}: no `{word}` in: {text}");
    }
}

/// A port that is free at the moment.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_sound_node_needs_nothing_of_its_own() {
    let place = NodeDir::with_node("attic");
    let port = free_port();
    place.setting("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let checks = doctor(&place);
    for check in ["folder", "key file", "node", "disk", "multicast", "UDP port"] {
        expect(&checks, check, "ok", &[]);
    }
    expect(&checks, "node", "ok", &["tombolo up"]);
    expect(&checks, "UDP port", "ok", &["free"]);
    assert!(["ok", "warning"].contains(&of(&checks, "clock").0.as_str()));
    let _daemon = place.up();
    let checks = doctor(&place);
    expect(&checks, "node", "ok", &["answers"]);
    expect(&checks, "UDP port", "ok", &["this node's"]);
    let text = String::from_utf8(place.run(&["doctor"]).stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("ok           key file        only its owner"), "{text}");
}

#[test]
fn each_fault_is_named_with_its_remedy() {
    let place = NodeDir::with_node("attic");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    place.setting("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let file = place.folder.join("no-device");
    std::fs::write(&file, "").unwrap();
    let mut settings = std::fs::read_to_string(place.folder.join("tombolo.toml")).unwrap();
    for device in ["/dev/none-there", file.to_str().unwrap()] {
        settings += &format!("\n[[radio]]\nurl = \"kiss+serial://{device}?bitrate=9600&region=wired\"\n");
    }
    std::fs::write(place.folder.join("tombolo.toml"), settings).unwrap();
    std::fs::set_permissions(place.folder.join("identity.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    std::fs::set_permissions(&place.folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let checks = doctor(&place);
    expect(&checks, "folder", "warning", &["chmod 700", "mode 755"]);
    expect(&checks, "key file", "needs_doing", &["chmod 600", "mode 644"]);
    expect(&checks, "UDP port", "needs_doing", &["another process", &format!("127.0.0.1:{port}")]);
    let radios: Vec<&Value> = checks.iter().filter(|check| check["check"] == "radio").collect();
    assert!(radios[0]["reason"].as_str().unwrap().contains("/dev/none-there is not there"), "{radios:?}");
    assert!(radios[1]["reason"].as_str().unwrap().contains("no serial port"), "{radios:?}");

    let output = place.run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("needs doing  key file") && text.contains("-> `chmod 600"), "{text}");
    assert!(text.lines().last().unwrap().contains("need doing"), "{text}");
}

#[test]
fn a_place_without_a_usable_node_is_checked_as_far_as_it_goes() {
    let empty = NodeDir::empty();
    let checks = doctor(&empty);
    expect(&checks, "folder", "needs_doing", &["tombolo init"]);
    expect(&checks, "disk", "ok", &[]);
    let place = NodeDir::with_node("attic");
    place.setting("mdns = false", "mdns = maybe");
    expect(&doctor(&place), "settings", "needs_doing", &["tombolo.toml, line"]);
    place.setting("mdns = maybe", "mdns = false");
    std::fs::write(place.folder.join("store.redb"), "no store").unwrap();
    expect(&doctor(&place), "store", "needs_doing", &["store.redb"]);
    std::fs::remove_file(place.folder.join("identity.key")).unwrap();
    expect(&doctor(&place), "key file", "needs_doing", &["put the key file back"]);
}

// ---- tor ---------------------------------------------------------------------------------------------

/// Names places of tor in the settings.
fn name_tor(place: &NodeDir, socks: &str, control: &str) {
    place.setting("\nenabled = false\n\n# Its SOCKS port", "\nenabled = true\n\n# Its SOCKS port");
    place.setting("socks = \"\"", &format!("socks = \"{socks}\""));
    place.setting("control = \"\"", &format!("control = \"{control}\""));
}

/// A SOCKS port that answers a request with one reply byte.
fn socks(reply: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).unwrap();
            stream.write_all(&[5, 0]).unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).unwrap();
            let mut rest = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut rest).unwrap();
            assert!(rest.windows(6).any(|part| part == b".onion"), "a host name, unresolved");
            let _ = stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
    });
    address
}

/// Answers the lines of a control connection, until one has no answer.
fn serve(stream: impl Read + Write, protocol_info: &str) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        let answer = match line.trim_end() {
            "PROTOCOLINFO 1" => protocol_info,
            "AUTHENTICATE" => "250 OK\r\n",
            "GETINFO status/bootstrap-phase" => {
                "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=45 TAG=requesting_descriptors SUMMARY=\"Asking for relays\"\r\n250 OK\r\n"
            }
            challenge if challenge.starts_with("AUTHCHALLENGE") => "513 Unwelcome\r\n",
            other => panic!("{other}"),
        };
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        line.clear();
    }
}

fn control(protocol_info: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), protocol_info);
        }
    });
    address
}

#[test]
fn a_tor_that_answers_is_asked_how_far_it_has_come() {
    let place = NodeDir::with_node("attic");
    let info = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor=\"0.4.9.11\"\r\n250 OK\r\n";
    name_tor(&place, &socks(0xf6), &control(info));
    let checks = doctor(&place);
    expect(&checks, "tor", "ok", &["SOCKS port answers"]);
    expect(&checks, "tor errors", "ok", &[]);
    expect(&checks, "tor control", "ok", &["tor 0.4.9.11"]);
    expect(&checks, "tor cookie", "warning", &["CookieAuthentication 1"]);
    expect(&checks, "tor start", "warning", &["45 % (Asking for relays)"]);
}

#[test]
fn a_tor_without_extended_errors_or_with_another_program_in_its_place_is_noticed() {
    let place = NodeDir::with_node("attic");
    let cookie = place.folder.join("no-cookie");
    let info = format!(
        "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"{}\"\r\n250 OK\r\n",
        cookie.display()
    );
    let control_place = control(Box::leak(info.into_boxed_str()));
    name_tor(&place, &socks(0x01), &control_place);
    let checks = doctor(&place);
    expect(&checks, "tor errors", "warning", &["SocksPort 9050 ExtendedErrors"]);
    expect(&checks, "tor cookie", "needs_doing", &["no-cookie is not there"]);
    std::fs::write(&cookie, [7; 32]).unwrap();
    expect(&doctor(&place), "tor cookie", "needs_doing", &["513 Unwelcome", "section [tor]"]);

    let other = NodeDir::with_node("boat");
    let web = "HTTP/1.1 400\r\n";
    name_tor(&other, &control(web), &control(web));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let checks = doctor(&other);
    expect(&checks, "tor", "needs_doing", &["no SOCKS port of tor"]);
    expect(&checks, "tor control", "needs_doing", &["no control port of tor"]);
    let third = NodeDir::with_node("mill");
    name_tor(&third, &closed.to_string(), &closed.to_string());
    let checks = doctor(&third);
    expect(&checks, "tor", "needs_doing", &["systemctl start tor"]);
    expect(&checks, "tor control", "needs_doing", &["ControlPort 9051"]);
}

/// However tor wants to be logged in to, the start is asked for; a login that fails is named.
#[test]
fn a_tor_that_asks_for_a_proof_is_asked_how_far_it_has_come() {
    let network = Network::new();
    for wants in ["cookie", "plain cookie", "password"] {
        let place = NodeDir::with_node("attic");
        let file = place.folder.join("cookie");
        let login = match wants {
            "cookie" => Login::cookie(file.clone()),
            "plain cookie" => {
                std::fs::write(&file, [0xC0; 32]).unwrap();
                Login::PlainCookie(file.clone())
            }
            _ => Login::Password("open \"sesame".to_owned()),
        };
        let tor = ScriptedTor::start(&network, login);
        tor.control.bootstrap(75);
        name_tor(&place, &tor.socks.at().to_string(), &tor.control.at().to_string());
        match wants {
            "cookie" => {}
            // Only where the operator named the file is it shown in clear.
            "plain cookie" => {
                expect(&doctor(&place), "tor cookie", "needs_doing", &["asks for its cookie in clear"]);
                place.setting("\ncookie = \"\"", &format!("\ncookie = \"{}\"", file.display()));
            }
            _ => {
                expect(&doctor(&place), "tor cookie", "needs_doing", &["the settings have none"]);
                place.setting("\npassword = \"\"", "\npassword = \"wrong\"");
                expect(&doctor(&place), "tor cookie", "needs_doing", &["515", "section [tor]"]);
                place.setting("\npassword = \"wrong\"", "\npassword = 'open \"sesame'");
            }
        }
        let checks = doctor(&place);
        expect(&checks, "tor cookie", "ok", &[]);
        expect(&checks, "tor start", "warning", &["75 %"]);
    }
}

/// A control socket of another user, as Debian has it: the socket, its owner, its group and the way into that group are named.
/// Only root can make one; without root the socket is closed to its own owner.
#[test]
fn a_control_socket_of_another_user_is_named_with_user_and_group() {
    let place = NodeDir::with_node("attic");
    let outer = place.folder.parent().unwrap();
    let socket = outer.join("control");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n");
        }
    });
    name_tor(&place, &socks(0xf6), &format!("unix:{}", socket.display()));
    let mode = |mode| std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode)).unwrap();
    if std::fs::metadata(&socket).unwrap().permissions().mode() != 0 && !is_root(&socket) {
        mode(0o000);
        expect(&doctor(&place), "tor control", "needs_doing", &["mode 000", "GroupWritable"]);
        return;
    }
    // The binary and the folder have to be in reach of the other user.
    let binary = outer.join("tombolo");
    std::fs::copy(env!("CARGO_BIN_EXE_tombolo"), &binary).unwrap();
    for path in [outer.to_owned(), place.folder.clone()] {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for entry in std::fs::read_dir(&place.folder).unwrap() {
        chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(&socket, Some(0), Some(1)).unwrap();
    let as_nobody = || {
        let mut command = Command::new(&binary);
        command.args(["doctor", "--json"]).env("TOMBOLO_DATA_DIR", &place.folder).env_remove("RUST_LOG");
        command.uid(NOBODY).gid(NOBODY);
        findings(&mut command)
    };
    mode(0o600);
    let checks = as_nobody();
    expect(&checks, "folder", "ok", &[]);
    expect(&checks, "tor control", "needs_doing", &["/control (owner root", "mode 600", "GroupWritable"]);
    mode(0o660);
    expect(&as_nobody(), "tor control", "needs_doing", &["mode 660", "`adduser ", "start the node again"]);
    mode(0o666);
    expect(&as_nobody(), "tor control", "ok", &[]);
}

/// Whether this process is root: what it makes belongs to root.
fn is_root(made: &Path) -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(made).unwrap()) == 0
}
