//! Publishes a struct: a snapshot document that is always one `Report`, of which peers receive what differs.
//!
//! ```sh
//! cargo run --example publish
//! ```

use serde::{Deserialize, Serialize};
use tombolo::{Settings, Tombolo};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    berths_free: u32,
    wind_knots: f64,
    remarks: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-publish-{}", std::process::id()));
    let node = Tombolo::open(&folder, Settings::on_loopback("harbour")).await?;

    let report = node.create_snapshot::<Report>("report").await?;
    let mut now = Report { berths_free: 3, wind_knots: 12.5, remarks: vec!["buoy 4 is dark".into()] };
    report.put(&now).await?;
    now.berths_free -= 1;
    report.put(&now).await?;

    // On a peer: node.snapshot::<Report>("harbour/report").
    assert_eq!(report.get().await?.as_ref(), Some(&now));
    println!("published {now:?}");

    node.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
