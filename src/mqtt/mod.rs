//! The bridge to an MQTT broker: each node a device in Home Assistant, found by its discovery. Off unless `[mqtt]` names a broker.
//!
//! | room | what it does |
//! |---|---|
//! | `bridge` | the connection, and when something is published |
//! | `discovery` | devices, topics and values, a pure function of the replies of `/v1` |
//!
//! It only reads the node. A broker that is away, slow or hostile costs the node nothing: messages are dropped until it is back.

mod bridge;
mod discovery;

pub use bridge::MqttBridge;
