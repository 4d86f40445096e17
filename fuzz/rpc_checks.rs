//! What must hold of any bytes that arrive as a JSON call or as an answer to one. Headers and body are parted by empty lines,
//! as HTTP parts them.

use tombolo::io::CallReply;
use tombolo::rpc::{CallRequest, Method, Proof};
use tombolo_transports::PeerId;

/// A body that is read is written back as the same call; headers and answers are read or refused.
pub(crate) fn call(input: &[u8]) {
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (&[][..], input),
    };
    let headers: Vec<(String, Vec<u8>)> = head
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            Some((String::from_utf8_lossy(&line[..at]).into_owned(), line[at + 1..].to_vec()))
        })
        .collect();
    if let Ok(proof) = Proof::read(&headers) {
        for method in [Method::GetState, Method::PeerJoined, Method::Install] {
            let _ = proof.check_second(&PeerId([7; 32]), method, body);
        }
    }
    match CallRequest::read(body) {
        Ok(CallRequest::Install(install)) => {
            let again = CallRequest::read(&CallRequest::install_body(&install));
            assert_eq!(again, Ok(CallRequest::Install(install)));
        }
        Ok(asked) => assert!(Method::from_name(asked.method().name()).is_some()),
        Err(refusal) => {
            assert!((400..600).contains(&refusal.status()) && !refusal.to_string().is_empty());
            let reply = CallReply::refused(&refusal);
            assert!(reply.read::<serde_json::Value>().is_err());
        }
    }
    for status in [200, 500] {
        let reply = CallReply { status, body: body.to_vec() };
        let _ = reply.read_state();
        let _ = reply.read_install();
    }
}
