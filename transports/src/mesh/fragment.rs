//! Messages longer than a frame, cut and joined again within bounds.
