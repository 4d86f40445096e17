//! Two daemons meet, agree and come into step with nothing but two TNCs.

use super::parts::{LONG, RadioNode, Tncs, done, in_step, join, within};

#[test]
fn two_daemons_join_and_come_into_step_over_radio() {
    if done("join::two_daemons_join_and_come_into_step_over_radio") {
        return;
    }
    let Some(tncs) = Tncs::start(&[]) else { return };
    let url = |n: usize| format!("kiss+tcp://{}?bitrate=9600&region=wired", tncs.kiss[n]);
    let attic = RadioNode::up("attic", "127.0.0.1:0", &url(0));
    let boat = RadioNode::up("boat", "[::1]:0", &url(1));
    join(&attic, &boat);
    attic.place.ok(&["create", "plan"]);
    attic.place.ok(&["set", "plan", "monday/watch", "Ada"]);
    let first = in_step(&attic, &boat);
    within("the right to write", LONG, || {
        boat.place.run(&["set", "attic/plan", "tuesday/watch", "Grace"]).status.success()
    });
    let second = within("the boat's write", LONG, || attic.get("tuesday/watch").as_deref() == Some("Grace"));
    println!(
        "totals: over two TNCs in step after {:.1} s and {:.1} s",
        first.as_secs_f64(),
        second.as_secs_f64()
    );

    // What people see: a listener on a radio, no other link, airtime that was counted.
    let links = attic.place.json(&["links"]);
    let rows = links.as_array().unwrap();
    let row = rows.iter().find(|row| row["peer"] == "boat").unwrap_or_else(|| panic!("{links}"));
    assert_eq!((row["did"].as_str(), row["state"].as_str()), (Some(&*boat.place.did()), Some("heard")));
    assert!(rows.iter().all(|row| row["link"].as_str().unwrap().starts_with("kiss+tcp://")), "{links}");
    let airtime = attic.place.json(&["airtime"]);
    assert!(airtime[0]["used_last_hour_s"].as_f64().unwrap() > 0.5, "{airtime}");
    assert!(airtime[0]["frames_sent"].as_u64().unwrap() >= 2, "{airtime}");
    within("in step in status", LONG, || {
        let status = attic.place.json(&["status"]);
        status["peers"][0]["state"] == "in step" && status["peers"][0]["links"][0] == "mesh"
    });
    assert_eq!(attic.place.json(&["peers"])[0]["connected"], true);
}

/// A third of the frames of 100 bytes is lost, so frames are kept short; and one of the two loses its power in the middle.
#[test]
fn bit_errors_and_a_power_cut_only_take_time() {
    if done("join::bit_errors_and_a_power_cut_only_take_time") {
        return;
    }
    let Some(tncs) = Tncs::start(&[("DW_BER", "2e-3")]) else { return };
    let url = |n: usize| {
        format!("kiss+tcp://{}?bitrate=9600&region=wired&mtu=120&call=N0CALL-{}", tncs.kiss[n], n + 1)
    };
    let attic = RadioNode::up("attic", "127.0.0.1:0", &url(0));
    let mut boat = RadioNode::up("boat", "[::1]:0", &url(1));
    join(&attic, &boat);
    attic.place.ok(&["create", "plan"]);
    for day in ["monday", "tuesday", "wednesday", "thursday"] {
        attic.place.ok(&["set", "plan", day, &format!("the watch of {day}")]);
    }
    within("the start of it", LONG, || boat.place.hash("plan").is_some());
    attic.place.ok(&["set", "plan", "friday", "sent while the other loses its power"]);
    boat.kill();
    attic.place.ok(&["set", "plan", "saturday", "set while the other is away"]);
    boat.start();
    let took = in_step(&attic, &boat);
    assert_eq!(boat.get("saturday").as_deref(), Some("set while the other is away"));
    within("the right to write", LONG, || {
        boat.place.run(&["set", "attic/plan", "sunday", "free"]).status.success()
    });
    within("the boat's write", LONG, || attic.get("sunday").as_deref() == Some("free"));
    println!("totals: in step {:.1} s after the power cut, at 2e-3 bit errors", took.as_secs_f64());
}

/// None of the frames of 255 bytes arrives, and no setting announces it: the senders find out.
#[test]
fn where_long_frames_die_two_daemons_join_with_short_ones() {
    if done("join::where_long_frames_die_two_daemons_join_with_short_ones") {
        return;
    }
    let Some(tncs) = Tncs::start(&[("DW_BER", "2e-3")]) else { return };
    let url =
        |n: usize| format!("kiss+tcp://{}?bitrate=9600&region=wired&call=N0CALL-{}", tncs.kiss[n], n + 1);
    let attic = RadioNode::up("attic", "127.0.0.1:0", &url(0));
    let boat = RadioNode::up("boat", "[::1]:0", &url(1));
    let begun = std::time::Instant::now();
    join(&attic, &boat);
    let joined = begun.elapsed();
    attic.place.ok(&["create", "plan"]);
    let text = "What is known of the harbour, at some length: depths, lights, who has the key to the shed. "
        .repeat(6);
    attic.place.ok(&["set", "plan", "harbour", &text]);
    let first = in_step(&attic, &boat);
    within("the right to write", LONG, || {
        boat.place.run(&["set", "attic/plan", "sunday", "free"]).status.success()
    });
    let second = within("the boat's write", LONG, || attic.get("sunday").as_deref() == Some("free"));
    println!(
        "totals: joined after {:.1} s, in step after {:.1} s and {:.1} s more, at 2e-3 bit errors and frames of 255 bytes",
        joined.as_secs_f64(),
        first.as_secs_f64(),
        second.as_secs_f64()
    );
}
