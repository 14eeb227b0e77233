//! A process's memory as root reads it, mapping by mapping, with what the kernel was told about each.
//!
//! Invariant: everything readable is read, except what is on no disk and in no core because the kernel maps it itself
//! (`[vvar]`, `[vsyscall]`, device memory); what was left out is returned.

use super::needles::{Needle, find};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Read at a time, bytes.
const BLOCK: usize = 1 << 20;
/// A thread's stack, bytes; what the kernel shows as one mapping with it, behind it, is no stack.
const STACK: u64 = 2 << 20;

/// One mapping.
pub struct Mapping {
    /// First address.
    pub from: u64,
    /// Behind the last.
    pub end: u64,
    /// `rw-p` and the like.
    pub access: String,
    /// File, `[heap]`, or nothing.
    pub name: String,
    /// `VmFlags` of smaps.
    pub flags: Vec<String>,
}

impl Mapping {
    /// Whether a core dump would leave it out, and the kernel keeps it in memory.
    pub fn is_secret(&self) -> bool {
        ["dd", "lo"].iter().all(|flag| self.has(flag))
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|it| it == flag)
    }
}

/// Every mapping of a process.
pub fn mappings(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut all: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((from, end)) = first.split_once('-') {
            let number = |hex| u64::from_str_radix(hex, 16).unwrap();
            let access = words.next().unwrap().to_owned();
            let name = words.skip(3).collect::<Vec<_>>().join(" ");
            all.push(Mapping { from: number(from), end: number(end), access, name, flags: Vec::new() });
        } else if let (Some(flags), Some(last)) = (line.strip_prefix("VmFlags: "), all.last_mut()) {
            last.flags = flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    assert!(all.len() > 20, "too few mappings to be true");
    all
}

/// A needle in memory.
pub struct Hit {
    /// Which.
    pub needle: String,
    /// Where, in words.
    pub place: String,
    /// Whether it lies in locked memory that is not dumped.
    pub secret: bool,
    /// Whether it lies on a thread's stack.
    pub stack: bool,
}

/// Looks for the needles in all of a process's memory, which is stopped meanwhile.
pub fn search(pid: u32, needles: &[Needle]) -> Vec<Hit> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let all = mappings(pid);
    let mut hits = Vec::new();
    for (index, mapping) in all.iter().enumerate() {
        let kernels = ["[vvar]", "[vvar_vclock]", "[vsyscall]"].contains(&mapping.name.as_str());
        if !mapping.access.starts_with('r') || kernels || mapping.has("io") || mapping.has("pf") {
            continue;
        }
        let main = mapping.name == "[stack]";
        let thread = index > 0 && is_guard(&all[index - 1], mapping);
        let overlap = needles.iter().map(|needle| needle.bytes.len()).max().unwrap();
        let mut at = mapping.from;
        let mut block = vec![0; BLOCK + overlap];
        while at < mapping.end {
            let len = block.len().min((mapping.end - at) as usize);
            // A file that was cut short behind its mapping cannot be read there, and holds nothing.
            if memory.read_exact_at(&mut block[..len], at).is_ok() {
                for needle in needles {
                    if let Some(offset) = find(&block[..len], &needle.bytes) {
                        let name = if mapping.name.is_empty() { "anonymous" } else { &mapping.name };
                        let place = format!("{name} {:#x} {:?}", at + offset as u64, mapping.flags.join(" "));
                        let stack = main || thread && at + (offset as u64) < mapping.from + STACK;
                        hits.push(Hit { needle: needle.name.clone(), place, secret: mapping.is_secret(), stack });
                    }
                }
            }
            at += BLOCK as u64;
        }
    }
    hits
}

/// Whether `before` is the guard page below a thread's stack.
fn is_guard(before: &Mapping, mapping: &Mapping) -> bool {
    before.end == mapping.from && before.access.starts_with("---") && before.end - before.from == 4096
}

/// The search can fail: what lies on an ordinary heap is found there, and not taken for secret memory.
#[test]
fn the_search_sees_the_heap() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let planted: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let needles = super::needles::raw("planted", &planted[1000..1032]);
    let hits = search(std::process::id(), &needles);
    assert!(hits.iter().any(|hit| !hit.secret && !hit.stack), "what lies on the heap was missed");
}
