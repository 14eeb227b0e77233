//! Faults planted one by one and found by name.

mod data;
mod fixture;
mod keys;
mod metadata;
mod repair;
mod ring;
