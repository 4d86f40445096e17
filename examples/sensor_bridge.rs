//! A bridge from a sensor: lines `NAME VALUE UNIT` on standard input become fields of this node's state, which peers see.
//!
//! ```sh
//! printf 'water 4.2 cm\nwater 4.3 cm\n' | cargo run --example sensor_bridge
//! ```

use tombolo::{Sensor, Settings, Tombolo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tombolo-bridge-{}", std::process::id()));
    let node = Tombolo::open(&folder, Settings::on_loopback("tide-gauge")).await?;

    // A thread of its own reads: standard input blocks.
    let (lines, mut received) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let read = std::io::stdin().lines().map_while(Result::ok);
        read.into_iter().try_for_each(|line| lines.blocking_send(line))
    });
    while let Some(line) = received.recv().await {
        let mut words = line.split_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        let sensor = match value.parse() {
            Ok(number) => Sensor::number(number, words.next().unwrap_or_default()),
            Err(_) => Sensor::text(value),
        };
        println!("{name}: {sensor}");
        node.set_sensor(name, Some(sensor)).await?;
    }

    node.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
