//! Masking, as a table.
