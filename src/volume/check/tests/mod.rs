//! Faults planted one by one and found by name.

mod beside;
mod crashes;
mod data;
mod fixture;
mod keys;
mod matrix;
mod metadata;
mod moved;
mod online;
mod repair;
mod ring;
