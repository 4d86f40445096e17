//! Follows a map: each change of any author comes with its key, its old and its new value.
//!
//! ```sh
//! cargo run --example follow
//! ```

use tombolo::{Settings, Tombolo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-follow-{}", std::process::id()));
    let node = Tombolo::open(&folder, Settings::on_loopback("attic")).await?;
    let counters = node.create_map("counters").await?;

    let mut changes = counters.watch().await?;
    let writer = counters.clone();
    tokio::spawn(async move {
        for visitors in 1..=3 {
            writer.set("visitors/today", &visitors).await?;
        }
        writer.del("visitors/today").await
    });
    while let Some(change) = changes.next().await {
        println!("{}: {:?} -> {:?}", change.key, change.old, change.new);
        if change.new.is_none() {
            break;
        }
    }

    node.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
