//! The page as a person sees it: what it shows of silence, of a frozen node, of a wrong clock, of hostile names, on a phone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::browser::Browser;
use super::harness::{Daemon, NodeDir, eventually};
use super::{TOKEN, has, node, node_with_page};

/// What markup and control characters a node, an app and a document can carry.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'>";

fn address(daemon: &Daemon) -> String {
    format!("http://{}/", daemon.told()["page"].as_str().unwrap())
}

fn join(inviter: &NodeDir, at: &Daemon, joiner: &NodeDir) {
    let code = inviter.ok(&["invite"]);
    joiner.ok(&["join", &code, "--addr", &at.address()]);
}

/// The class of a peer's card, by the name on it.
fn card(name: &str) -> String {
    format!(
        "(()=>{{const c=[...document.querySelectorAll('.card')].find(c=>c.querySelector('h3').textContent.includes({}));return c?c.className:''}})()",
        json!(name)
    )
}

/// A stopped peer changes its words on the page at its "next by", not before; a stopped node greys the page as a whole; both come back.
/// The page fits a phone, and asks no other place.
#[test]
fn the_page_shows_a_silence_when_it_means_something_and_greys_without_its_node() {
    let Some(mut browser) = Browser::start() else { return };
    let (attic, boat) = (node_with_page("attic"), node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    join(&attic, &attic_up, &boat);
    let page = address(&attic_up);
    browser.open(&page);
    browser.eventually("all well", |browser| {
        browser
            .text("document.getElementById('verdict').innerText")
            .contains("All well. 2 of 2 nodes in step.")
    });
    let status = attic.ok(&["status"]);
    assert!(status.contains("All well. 2 of 2 nodes in step."), "the same sentence: {status}");
    assert_eq!(
        browser.js("document.documentElement.scrollWidth"),
        json!(360),
        "no sideways scroll on a phone"
    );
    assert!(
        browser.js("document.querySelectorAll('details.act').length") == json!(0),
        "read only without the token"
    );

    boat_up.signal("-STOP");
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        let shown = browser.text(&card("boat"));
        // Asked after the page was read: what the page shows as overdue is overdue now.
        let presence = attic.json(&["status"])["peers"][0]["presence"].clone();
        let (silent, within) =
            (presence["silent_s"].as_u64().unwrap(), presence["next_within_s"].as_u64().unwrap());
        if ["overdue", "lost"].iter().any(|word| shown.contains(word)) {
            assert!(
                silent >= within && shown.contains("old"),
                "missed before its next by: {presence}, {shown}"
            );
            break;
        }
        assert!(shown.contains("here") || shown.contains("quiet"), "{shown}");
        assert!(Instant::now() < end, "never missed: {presence}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let verdict = browser.text("document.getElementById('verdict').innerText");
    assert!(verdict.contains("oat is ") && verdict.contains("1 of 2 nodes in step"), "{verdict}");
    assert!(
        browser.text("document.getElementById('needs').innerText").contains("boat"),
        "it needs the operator"
    );
    boat_up.signal("-CONT");
    browser.eventually("the boat is back", |browser| browser.text(&card("boat")).contains("here"));

    attic_up.signal("-STOP");
    browser.eventually("the page is grey", |browser| {
        browser.js("document.body.classList.contains('lost')") == json!(true)
    });
    let banner = browser.text("document.getElementById('lost').innerText");
    let filter = browser.text("getComputedStyle(document.querySelector('main')).filter");
    assert!(
        banner.contains("No answer of this node since") && filter.contains("grayscale"),
        "{banner} {filter}"
    );
    attic_up.signal("-CONT");
    browser.eventually("the page lives again", |browser| {
        browser.js("document.body.classList.contains('lost')") == json!(false)
    });
    only_this_node(&mut browser, &page);
}

/// Every request went to the node, and the policy of the page was not broken.
fn only_this_node(browser: &mut Browser, page: &str) {
    browser.js("1");
    let events = std::mem::take(&mut browser.events);
    let of = |method: &str| events.iter().filter(move |event| event["method"] == method).collect::<Vec<_>>();
    for event in of("Network.requestWillBeSent") {
        let url = event["params"]["request"]["url"].as_str().unwrap();
        assert!(url.starts_with(page) || url.starts_with("data:"), "a request to {url}");
    }
    assert!(of("Page.javascriptDialogOpening").is_empty(), "a script of another ran");
    let complaints = of("Log.entryAdded");
    let of_policy = |event: &&&Value| {
        event["params"]["entry"]["text"].as_str().unwrap().contains("Content Security Policy")
    };
    assert_eq!(complaints.iter().filter(of_policy).count(), 0, "{complaints:?}");
}

/// Names, apps and values that carry markup, control characters and half characters are text on the page; a clock that is
/// four hours ahead is shown; the token opens the changes, and each does what it promises.
#[test]
fn hostile_names_are_inert_and_the_token_opens_the_changes() {
    let Some(mut browser) = Browser::start() else { return };
    if !has("faketime", "faketime") {
        return;
    }
    let (attic, boat, tower) = (node_with_page("attic"), node("boat"), node("tower"));
    let apps = boat.folder.join("apps.json");
    let app = json!([{ "id": HOSTILE, "status": "running", "version": "\u{202e}1\u{1b}[2J", "health": "unhealthy" }]);
    std::fs::write(&apps, app.to_string()).unwrap();
    boat.setting("apps_file = \"\"", &format!("apps_file = {}", json!(apps)));
    let sensors = boat.folder.join("sensors.json");
    let long = "x".repeat(60);
    std::fs::write(&sensors, json!({ (&long): { "value": &long, "unit": &long[..12] } }).to_string())
        .unwrap();
    boat.setting("sensors_file = \"\"", &format!("sensors_file = {}", json!(sensors)));
    let (attic_up, _boat_up) = (attic.up(), boat.up());
    let ahead = [("LD_PRELOAD", FAKETIME), ("FAKETIME", "+4h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let _tower_up = tower.up_in(&ahead, &[]);
    join(&attic, &attic_up, &boat);
    join(&attic, &attic_up, &tower);
    attic.ok(&["rename", "boat", &HOSTILE.replace("/", "")]);
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "watch", "Ada"]);

    browser.size(900, 900);
    let page = address(&attic_up);
    browser.open(&page);
    browser.eventually("the clock of the tower is shown", |browser| {
        browser.text("document.body.innerText").contains("its clock is 4 h ahead")
    });
    browser.eventually("the app of the boat is shown", |browser| {
        browser.text("document.querySelector('.apps')?.innerText||''").contains("<img src=x")
            || browser.text("document.body.innerText").contains("unhealthy")
    });
    let shown = browser.text("document.body.innerText");
    assert!(shown.contains(HOSTILE) && !shown.contains(['\u{202e}', '\u{1b}']), "{shown}");
    assert_eq!(browser.js("document.querySelectorAll('main img, main script').length"), json!(0));
    assert_ne!(browser.text("document.title"), "taken");
    browser.eventually("the long sensor is shown", |browser| {
        browser.js("!!document.querySelector('.sensor')") == json!(true)
    });
    browser.size(360, 740);
    assert_eq!(
        browser.js("document.documentElement.scrollWidth"),
        json!(360),
        "long words scroll nothing sideways"
    );
    browser.size(900, 900);

    browser.unlock(TOKEN);
    // Removes nothing without the mark of the page.
    let forged = format!(
        "fetch('/act/remove',{{method:'POST',headers:{{'content-type':'application/x-www-form-urlencoded'}},body:'mark=x&sure=yes&peer={}'}}).then(r=>r.status)",
        tower.did()
    );
    assert_eq!(browser.js(&forged), json!(403));
    submit(&mut browser, "/act/trust", &tower.did(), "level", "observer");
    eventually("the tower is an observer", || {
        let peers = attic.json(&["peers"]);
        peers
            .as_array()
            .unwrap()
            .iter()
            .any(|peer| peer["did"] == json!(tower.did()) && peer["trust_level"] == "observer")
    });
    browser.eventually("back on the page", |browser| browser.js("location.pathname") == json!("/"));
    submit(&mut browser, "/act/rename", &tower.did(), "name", "<b>tower</b>");
    browser.eventually("renamed, as text", |browser| {
        browser.text("document.body.innerText").contains("a name has no `/`")
            || browser.text("document.body.innerText").contains("a name has no /")
    });
    browser.open(&page);
    browser.js("document.querySelector('form[action=\"/act/invite\"]').submit()");
    browser.eventually("an invite with its picture", |browser| {
        browser.text("document.querySelector('code.code')?.innerText||''").starts_with("fed1:")
            && browser.js("!!document.querySelector('svg.qr path')") == json!(true)
    });
    only_this_node(&mut browser, &page);
}

/// Sends the form of one peer.
fn submit(browser: &mut Browser, action: &str, did: &str, field: &str, value: &str) {
    let script = format!(
        "(()=>{{const f=[...document.querySelectorAll('form[action=\"{action}\"]')].find(f=>f.peer.value==={});f[{}].value={};f.submit();return true}})()",
        json!(did),
        json!(field),
        json!(value)
    );
    assert_eq!(browser.js(&script), json!(true));
}

/// The library that gives a process another clock, where Debian's package has it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
