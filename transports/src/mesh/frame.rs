//! A radio frame: header, alias, sender hint, counter, tag; the replay window.
