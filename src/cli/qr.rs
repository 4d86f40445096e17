//! A QR code in half-block characters: two modules per character cell, so that it is square.
//!
//! Light modules are drawn, dark ones left out: on a dark terminal it looks as on paper. On a terminal that shows colours,
//! both are set ([`coloured`]), or a light one would show it inverted, which not every reader takes.

use qrcode::{Color, EcLevel, QrCode, Version};
use tombolo_transports::Address;

/// Lines that a code may take: 24, and one for the prompt.
pub(crate) const LINES_MAX: usize = 23;
/// Modules of light around the code: four by the standard, two where the terminal has no room.
const QUIET: [usize; 3] = [4, 3, 2];

/// Bytes that the addresses of a compact invite may take, so that the code stays within version 6: with
/// 45 modules it would not fit any more.
const ADDRESS_BYTES_MAX: usize = 32;

/// Those of some addresses that a code on a terminal has room for, the first ones first.
pub(crate) fn fitting(addresses: &[Address]) -> Vec<Address> {
    let mut left = ADDRESS_BYTES_MAX;
    let mut fits = |address: &&Address| {
        let Some(address) = address.as_socket() else { return false };
        // A byte for the kind, the address, two for the port.
        let bytes = if address.is_ipv4() { 7 } else { 19 };
        left.checked_sub(bytes).map(|rest| left = rest).is_some()
    };
    addresses.iter().filter(|address| fits(address)).copied().collect()
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code is too long for a QR code on a terminal of 80 x 24")]
pub(crate) struct TooLong;

/// Draws a text; at most 80 columns and [`LINES_MAX`] lines.
pub(crate) fn draw(text: &str) -> Result<String, TooLong> {
    let code = smallest(text).ok_or(TooLong)?;
    let quiet = QUIET.into_iter().find(|quiet| lines_of(code.width(), *quiet) <= LINES_MAX).ok_or(TooLong)?;
    let side = code.width() + 2 * quiet;
    let light = |row: usize, column: usize| {
        let inside = row.checked_sub(quiet).zip(column.checked_sub(quiet));
        let inside = inside.filter(|(row, column)| *row < code.width() && *column < code.width());
        row < side && inside.is_none_or(|(row, column)| code[(column, row)] == Color::Light)
    };
    let line = |row: usize| -> String {
        (0..side)
            .map(|column| match (light(row, column), light(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect()
    };
    Ok((0..side).step_by(2).map(line).collect::<Vec<_>>().join("\n"))
}

/// The picture in white on black, whatever colours the terminal has; each line ends with the terminal's own.
pub(crate) fn coloured(drawn: &str) -> String {
    const WHITE_ON_BLACK: &str = "\x1b[97;40m";
    const USUAL: &str = "\x1b[0m";
    drawn.lines().map(|line| format!("{WHITE_ON_BLACK}{line}{USUAL}")).collect::<Vec<_>>().join("\n")
}

/// The code with the fewest modules; its error correction is the best that costs no module more.
fn smallest(text: &str) -> Option<QrCode> {
    let version = QrCode::with_error_correction_level(text, EcLevel::L).ok()?.version();
    let better = [EcLevel::H, EcLevel::Q, EcLevel::M, EcLevel::L];
    better.into_iter().find_map(|level| with(text, version, level))
}

fn with(text: &str, version: Version, level: EcLevel) -> Option<QrCode> {
    QrCode::with_version(text, version, level).ok()
}

fn lines_of(width: usize, quiet: usize) -> usize {
    (width + 2 * quiet).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as a compact invite gets with one address of each family.
    #[test]
    fn an_invite_fits_a_terminal_of_80_by_24() {
        for letters in [150, 166, 186, 195] {
            let drawn = draw(&format!("FED1C:{}", "A2".repeat((letters - 6) / 2))).unwrap();
            assert!(
                drawn.lines().count() <= LINES_MAX && drawn.lines().all(|line| line.chars().count() <= 80)
            );
        }
        assert_eq!(draw(&"A".repeat(400)), Err(TooLong));
        assert_eq!(draw(&"A".repeat(10_000)), Err(TooLong));
    }

    /// No line leaves its colours to what follows it.
    #[test]
    fn colours_are_set_and_given_back_on_each_line() {
        assert_eq!(coloured("█▀\n▄ "), "\x1b[97;40m█▀\x1b[0m\n\x1b[97;40m▄ \x1b[0m");
    }

    /// Reads the picture back into modules and compares them with the code: nothing is cut or mirrored.
    #[test]
    fn every_module_is_where_it_should_be() {
        let text = format!("FED1C:{}", "ABCDEFG234567".repeat(12));
        let (drawn, code) = (draw(&text).unwrap(), smallest(&text).unwrap());
        let cells: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let quiet = (cells[0].len() - code.width()) / 2;
        for row in 0..code.width() {
            for column in 0..code.width() {
                let cell = cells[(row + quiet) / 2][column + quiet];
                let light = matches!((cell, (row + quiet) % 2), ('█', _) | ('▀', 0) | ('▄', 1));
                assert_eq!(light, code[(column, row)] == Color::Light, "{row}, {column}");
            }
        }
    }
}
