//! Lines on which single bits go wrong: of long frames none arrives, of short ones some do.

use super::*;
use tombolo_mesh::emulated::Loss;

/// Two nodes join and share a document of several frames; gives the virtual seconds that each took.
fn join_and_share(mut field: Field, loss: Loss) -> (u64, u64) {
    field.air.set_loss(loss);
    let (a, b) = (field.add("attic", true).unwrap(), field.add("boat", true).unwrap());
    join(&mut field, a, b);
    let joined = field.now();
    create(&mut field, a, "plan");
    let text = "What is known of the harbour: depths, lights, who has the key to the shed. ".repeat(8);
    set(&mut field, a, "plan", "harbour", text);
    in_step(&mut field, &[a, b], "plan", "harbour", 12 * HOUR);
    // The right to write came as well.
    set(&mut field, b, "plan", "sunday", "free");
    in_step(&mut field, &[a, b], "plan", "sunday", 12 * HOUR);
    (joined.since(Mono::ZERO) / SECOND, field.now().since(joined) / SECOND)
}

#[test]
fn nodes_join_and_share_where_hardly_a_long_frame_arrives() {
    for seed in 61..65 {
        for (wrong_bits, frame_bytes_max) in [(1_000, 231), (2_000, 231), (2_000, 255)] {
            let mut config = FieldConfig::new(seed, PhyRate::lora(Modulation::SF7_125));
            config.frame_bytes_max = frame_bytes_max;
            let (joined_s, shared_s) = join_and_share(Field::new(config), Loss::bit_errors(wrong_bits));
            println!(
                "seed {seed}, {wrong_bits} wrong bits in a million, frames of {frame_bytes_max}: joined in {joined_s} s, \
                 in step {shared_s} s later"
            );
            assert!(joined_s < 600, "joining took {joined_s} s");
        }
    }
}
