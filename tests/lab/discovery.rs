//! What discovery needs and what it reveals.

use std::time::Duration;

use crate::lab::{Lab, wait_for};

/// What a node may use under any flood from the LAN.
const MEMORY_KB: u64 = 128 * 1024;

/// Where multicast is blocked, an address by hand is enough to join, and the link stays.
#[test]
fn join_by_address_where_multicast_is_blocked() {
    let Some(lab) = Lab::new(2) else { return };
    for index in ["1", "2"] {
        for chain in ["input", "output"] {
            let rules = format!(
                "table inet nomdns{chain} {{ chain c {{ type filter hook {chain} priority 0; udp dport 5353 drop; }}; }}"
            );
            lab.netlab(&["exec", index, "nft", &rules]);
        }
    }
    let nodes = lab.running(2);
    let code = nodes[0].ok(&["invite"]);
    nodes[1].ok(&["join", &code, "--addr", &format!("{}:8662", lab.address(1))]);
    let did = nodes[1].did();
    wait_for("a link", Duration::from_secs(20), || nodes[0].is_connected(&did));
    nodes[0].ok(&["create", "roster"]);
    nodes[0].ok(&["set", "roster", "monday", "ann"]);
    wait_for("the document", Duration::from_secs(10), || {
        nodes[1].get("roster", "monday").as_deref() == Some("ann")
    });
}

/// A machine with bridges and without a default route, as a LAN without internet has it: once a peer is linked, the address over which that
/// came stands first among the own ones, which a code names.
#[test]
fn a_code_names_first_the_address_over_which_peers_come() {
    let Some(lab) = Lab::new(2) else { return };
    for (number, address) in [("1", "1.1.1.1/24"), ("2", "2.2.2.1/24")] {
        let bridge = format!("docker{number}");
        lab.netlab(&["exec", "1", "ip", "link", "add", &bridge, "type", "bridge"]);
        lab.netlab(&["exec", "1", "ip", "address", "add", address, "dev", &bridge]);
        lab.netlab(&["exec", "1", "ip", "link", "set", &bridge, "up"]);
    }
    let nodes = lab.running(2);
    nodes[0].federate(&nodes[1]);
    let did = nodes[1].did();
    wait_for("a link", Duration::from_secs(20), || nodes[0].is_connected(&did));
    wait_for("its address in front", Duration::from_secs(10), || {
        let status = nodes[0].json(&["status"]);
        status["addresses"][0].as_str().unwrap().starts_with(&lab.address(1))
    });
}

/// A neighbour repeats the inviter's hint under 400 names a second, each with addresses where no node is. The holder of a code
/// without addresses joins soon after all the same, and memory stays bounded.
#[test]
fn repeated_hints_neither_stop_a_join_nor_fill_the_memory() {
    let Some(lab) = Lab::new(3) else { return };
    let (mut inviter, mut joiner) = (lab.node(1), lab.node(2));
    // No node runs, so the code names no address.
    let code = inviter.ok(&["invite"]);
    joiner.up();
    let mut flood = lab.mdns_flood(3, 400, 5, 1);
    inviter.up();
    wait_for("more names than are kept", Duration::from_secs(60), || joiner.tail().contains("afresh"));
    let begun = std::time::Instant::now();
    joiner.ok(&["join", &code, "--timeout", "50s"]);
    let (joined, memory) = (begun.elapsed(), [inviter.memory_high_kb(), joiner.memory_high_kb()]);
    println!("totals: joined within {joined:?}, at most {memory:?} kB of memory");
    assert!(memory.iter().all(|memory| *memory < MEMORY_KB), "{memory:?}");
    flood.wait().unwrap();
}

/// Answers come faster than the mDNS daemon reads them, so that it never comes to the end of its sockets. It is replaced all the same:
/// memory stays bounded, no processor is busy afterwards, and a node whose address is not known is found.
#[test]
fn a_flood_that_is_not_read_to_its_end_does_not_fill_the_memory() {
    let Some(lab) = Lab::new(3) else { return };
    let (mut inviter, mut late) = (lab.node(1), lab.node(2));
    // No node runs, so the code names no address.
    let code = inviter.ok(&["invite"]);
    inviter.up();
    lab.mdns_flood(3, 2_000, 45, 24).wait().unwrap();
    let memory = inviter.memory_high_kb();
    println!("totals: at most {memory} kB of memory in 45 s of some 2,000 answers of 8 kB a second");
    assert!(memory < MEMORY_KB, "{memory} kB");
    wait_for("a processor that rests", Duration::from_secs(60), || {
        let before = inviter.processor_ticks();
        std::thread::sleep(Duration::from_secs(2));
        inviter.processor_ticks() - before <= 4
    });
    late.up();
    late.ok(&["join", &code, "--timeout", "50s"]);
}

/// Multicast reveals that a Tombolo node is here, and not which: no DID, no key, no name. And nothing that
/// passes the switch shows a value that is in step on both sides.
#[test]
fn packets_carry_neither_identity_nor_content() {
    let Some(lab) = Lab::new(2) else { return };
    let capture = lab.capture(12);
    std::thread::sleep(Duration::from_millis(500));
    let nodes = lab.running(2);
    nodes[0].federate(&nodes[1]);
    nodes[0].ok(&["create", "roster"]);
    nodes[0].ok(&["set", "roster", "monday", "periwinkle"]);
    wait_for("the document", Duration::from_secs(8), || {
        nodes[1].get("roster", "monday").as_deref() == Some("periwinkle")
    });
    let mut secrets = vec![b"periwinkle".to_vec(), b"harbour".to_vec(), b"roster".to_vec()];
    for node in &nodes {
        let id = node.json(&["id"]);
        let (did, key) = (id["did"].as_str().unwrap().to_owned(), id["pubkey"].as_str().unwrap().to_owned());
        let raw = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
        // A key shortened or written otherwise would give it away as well.
        secrets.push(did.trim_start_matches("did:key:").as_bytes()[4..20].to_vec());
        secrets.push(key.as_bytes()[..12].to_vec());
        secrets.push(data_encoding::BASE64URL_NOPAD.encode(&raw).as_bytes()[..10].to_vec());
        secrets.push(raw[..8].to_vec());
        secrets.push(id["onion"].as_str().unwrap().as_bytes()[..12].to_vec());
    }
    let frames = capture.frames();
    let (mut multicast, mut bytes) = (0, 0);
    for frame in &frames {
        let lower = frame.to_ascii_lowercase();
        for secret in &secrets {
            let shown = frame.windows(secret.len()).any(|part| part == secret.as_slice());
            let shown_in_lower = lower.windows(secret.len()).any(|part| part == secret.to_ascii_lowercase());
            assert!(!shown && !shown_in_lower, "a frame shows {:?}", String::from_utf8_lossy(secret));
        }
        multicast += usize::from(frame.windows(7).any(|part| part == b"tombolo"));
        bytes += frame.len();
    }
    assert!(multicast > 0, "discovery was seen");
    println!(
        "totals: {} frames, {bytes} bytes, {multicast} of them name the service; none shows who or what",
        frames.len()
    );
}
