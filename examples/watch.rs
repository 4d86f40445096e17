//! A node inside a program of one's own: it writes a counter and watches what changes.
//!
//! ```sh
//! cargo run --example watch
//! ```

use tombolo::handle::{Settings, Tombolo};
use tombolo::node::Event;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-watch-{}", std::process::id()));
    Tombolo::create(&folder, "attic")?;
    let node = Tombolo::start(&folder, Settings::on_loopback("attic")).await?;
    node.create_map("counters").await?;

    let mut events = node.watch();
    for visitors in 1..=3 {
        node.set("counters", "visitors/today", &visitors).await?;
        // Every write is an event with the sequence under which it is on the disk.
        while let Ok(event) = events.recv().await {
            if let Event::Changed(change) = event {
                println!(
                    "{} changed, sequence {}: {:?}",
                    change.name,
                    change.sequence,
                    node.get("counters", None).await?
                );
                break;
            }
        }
    }

    node.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
