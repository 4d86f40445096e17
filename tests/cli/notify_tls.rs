//! Messages to an `https://` address: a TLS server with a certificate of a private authority, made by openssl.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::harness::{NodeDir, PATIENCE};

/// An authority, and a certificate of it for 127.0.0.1 alone: `ca.pem`, `server.pem` and `server.key` in a folder.
fn certificates(folder: &Path, authority: &str) -> bool {
    let run = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let name = format!("/CN={authority}");
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let ca = ["req", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", &name];
    let request = ["req", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=notify"];
    run(&[&ca[..], &ec].concat())
        && run(&[&request[..], &ec].concat())
        && run(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "san",
            "-out",
            "server.pem",
        ])
}

/// A TLS server that answers each request it can read; returns its port and what it got.
fn server(folder: &Path) -> (u16, mpsc::Receiver<String>) {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain.map(Result::unwrap).collect(), key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (post, got) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            // A client that does not trust the certificate ends the handshake.
            while let Ok(count) = stream.read(&mut buffer) {
                text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                if count == 0 || text.contains("alarms will arrive here.") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    let _ = post.send(std::mem::take(&mut text));
                    break;
                }
            }
        }
    });
    (port, got)
}

#[test]
fn a_message_goes_over_tls_to_a_server_that_this_machine_trusts_and_to_no_other() {
    let [ours, other] = ["ours", "other"].map(|_| tempfile::tempdir().unwrap());
    if !certificates(ours.path(), "ours") || !certificates(other.path(), "another") {
        println!("SKIPPED: needs openssl (apt install openssl)");
        return;
    }
    let (port, got) = server(ours.path());
    let place = NodeDir::with_node("attic");
    place.setting("url = \"\"", &format!("url = \"https://127.0.0.1:{port}/alarms\""));
    let test = |authority: &Path| {
        let mut command = place.command(&["notify", "test", "--json"]);
        let output = command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR").output().unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), rows[0].clone())
    };
    let (code, row) = test(&ours.path().join("ca.pem"));
    assert_eq!(
        (code, row["state"].as_str(), row["answer"].as_str()),
        (Some(0), Some("sent"), Some("200 OK ok"))
    );
    let post = got.recv_timeout(PATIENCE).unwrap();
    assert!(
        post.starts_with("POST /alarms HTTP/1.1\r\n") && post.contains("title: attic: a test\r\n"),
        "{post}"
    );

    // Another authority than the one that signed it; and another name than the one in it.
    let (code, row) = test(&other.path().join("ca.pem"));
    assert_eq!((code, row["state"].as_str()), (Some(1), Some("failed")), "{row}");
    assert!(row["why"].as_str().unwrap().contains("certificate"), "{row}");
    place.setting("https://127.0.0.1", "https://localhost");
    let (code, row) = test(&ours.path().join("ca.pem"));
    assert_eq!((code, row["state"].as_str()), (Some(1), Some("failed")), "{row}");
    assert!(row["why"].as_str().unwrap().contains("certificate"), "{row}");
    assert!(got.try_recv().is_err(), "nothing is sent before the server is known");
}
