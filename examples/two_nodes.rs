//! Two nodes in one program: one invites, the other joins, and both read the same.
//!
//! ```sh
//! cargo run --example two_nodes
//! ```

use std::path::Path;
use std::time::Duration;

use tombolo::federation::TrustLevel;
use tombolo::handle::{Settings, Tombolo};
use tombolo::node::{Admin, Reply};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-two-nodes-{}", std::process::id()));
    let done = run(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    done
}

async fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let attic = start(folder, "attic").await?;
    let boat = start(folder, "boat").await?;

    let invite = Admin::Invite {
        level: TrustLevel::Trusted,
        expires_in: tombolo::time::Millis::from_secs(60),
        addresses: attic.addresses(),
    };
    let Reply::Invite(invite) = attic.command(invite).await? else { return Err("no invite".into()) };
    boat.command(Admin::Join { code: invite.code, addresses: Vec::new() }).await?;
    println!("boat joined attic");

    attic.create_map("plan").await?;
    attic.set("plan", "monday/watch", &"Ada").await?;
    while boat.get("plan", Some("monday/watch")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A bare name would mean a document of the boat's own. The attic's list of writers travels as a document of its own: it may come a moment later.
    while boat.set("attic/plan", "monday/boats", &3).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while attic.get("plan", Some("monday/boats")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("attic reads {:?}", attic.get("plan", None).await?);

    attic.shutdown().await;
    boat.shutdown().await;
    Ok(())
}

async fn start(folder: &Path, name: &str) -> Result<Tombolo, Box<dyn std::error::Error>> {
    let folder = folder.join(name);
    Tombolo::create(&folder, name)?;
    Ok(Tombolo::start(&folder, Settings::on_loopback(name)).await?)
}
