//! Two nodes in one program: one invites, the other joins, both write one document, and both read the same.
//!
//! ```sh
//! cargo run --example two_nodes
//! ```

use std::path::Path;
use std::time::Duration;

use tombolo::{Changes, KeyChange, Settings, Tombolo, TrustLevel};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-two-nodes-{}", std::process::id()));
    let done = run(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    done
}

async fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let attic = Tombolo::open(folder.join("attic"), Settings::on_loopback("attic")).await?;
    let boat = Tombolo::open(folder.join("boat"), Settings::on_loopback("boat")).await?;

    let code = attic.invite(TrustLevel::Trusted, Duration::from_secs(60)).await?;
    let inviter = boat.join(&code).await?;
    println!("boat joined {}", inviter.name.unwrap_or(inviter.did));

    let plan = attic.create_map("plan").await?;
    let theirs = boat.map("attic/plan");
    let mut at_boat = theirs.watch().await?;
    plan.set("monday/watch", &"Ada").await?;
    println!("boat reads {:?}", until(&mut at_boat, "monday/watch").await);

    // In step: the attic's list of writers has come as well, so the boat may write.
    attic.in_step("boat").await?;
    let mut at_attic = plan.watch().await?;
    theirs.set("monday/boats", &3).await?;
    println!("attic reads {:?}", until(&mut at_attic, "monday/boats").await);
    assert_eq!(plan.get::<u32>("monday/boats").await?, Some(3));

    attic.shutdown().await;
    boat.shutdown().await;
    Ok(())
}

/// Waits for a change of a key.
async fn until(changes: &mut Changes, key: &str) -> Option<KeyChange> {
    while let Some(change) = changes.next().await {
        if change.key == key {
            return Some(change);
        }
    }
    None
}
