//! Faults planted one by one and found by name.
