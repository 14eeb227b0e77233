//! Thin wrappers over system calls that `nix` and `std` do not offer safely. One call each, no policy.
#![allow(unsafe_code, reason = "raw system calls")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::pages::PAGE;

/// Direct I/O alignments of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectAlign {
    /// Of memory addresses, bytes.
    pub(super) memory: u32,
    /// Of offsets and lengths, bytes.
    pub(super) offset: u32,
}

nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);

/// Size of a block device, bytes (BLKGETSIZE64).
pub(super) fn block_size64(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: the ioctl writes one u64 to the pointer, which is a live local.
    unsafe { blkgetsize64(fd.as_raw_fd(), &mut size) }?;
    Ok(size)
}

/// `preadv2` of one buffer with `RWF_NOWAIT`: only what needs no waiting.
pub(super) fn read_nowait(fd: RawFd, data: &mut [u8], offset: u64) -> io::Result<usize> {
    let vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: the vector names exactly the bytes of `data`, exclusively borrowed for the call.
    let moved = unsafe { libc::preadv2(fd, &vector, 1, signed(offset)?, libc::RWF_NOWAIT) };
    count(moved)
}

/// `pwritev2` of one buffer with `RWF_NOWAIT`: only what needs no waiting.
pub(super) fn write_nowait(fd: RawFd, data: &[u8], offset: u64) -> io::Result<usize> {
    write_flags(fd, data, offset, libc::RWF_NOWAIT)
}

/// `pwritev2` of one buffer with `RWF_DSYNC`: durable on return.
pub(super) fn write_dsync(fd: RawFd, data: &[u8], offset: u64) -> io::Result<usize> {
    write_flags(fd, data, offset, libc::RWF_DSYNC)
}

fn write_flags(fd: RawFd, data: &[u8], offset: u64, flags: i32) -> io::Result<usize> {
    let vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: the vector names exactly the bytes of `data`, borrowed for the call; pwritev2 only reads them.
    let moved = unsafe { libc::pwritev2(fd, &vector, 1, signed(offset)?, flags) };
    count(moved)
}

/// `recvmsg` without waiting.
pub(super) fn receive(fd: BorrowedFd<'_>, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let mut message = empty_message();
    // IoSliceMut is guaranteed to have the layout of iovec.
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = parts.len();
    // SAFETY: the message names only the exclusively borrowed slices in `parts`, and no name or control buffers.
    let moved = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    count(moved)
}

/// `sendmsg` without waiting and without SIGPIPE.
pub(super) fn send(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut message = empty_message();
    // IoSlice is guaranteed to have the layout of iovec.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len();
    // SAFETY: the message names only the borrowed slices in `parts`, which sendmsg only reads.
    let moved = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    count(moved)
}

/// A message header without any buffers.
pub(super) fn empty_message() -> libc::msghdr {
    // SAFETY: all fields of msghdr are integers and pointers, for which zero is valid and means "none".
    unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() }
}

/// `ppoll`. `None` waits for ever. Returns how many descriptors have events.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let time = timeout.map(|time| libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos() as i32),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is exclusively borrowed and its length given; `time` is null or a live local; no signal mask.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time, std::ptr::null()) };
    count(ready as isize)
}

/// Direct I/O alignments as the file system states them (Linux 6.1, STATX_DIOALIGN); `None` if it does not.
pub(super) fn direct_align(fd: BorrowedFd<'_>) -> Option<DirectAlign> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the empty path with AT_EMPTY_PATH names `fd` itself; the kernel fills at most one statx.
    let result = unsafe {
        libc::statx(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, stat.as_mut_ptr())
    };
    if result != 0 {
        return None;
    }
    // SAFETY: statx is plain integers and was zeroed before the call.
    let stat = unsafe { stat.assume_init() };
    (stat.stx_mask & libc::STATX_DIOALIGN != 0 && stat.stx_dio_offset_align != 0)
        .then_some(DirectAlign { memory: stat.stx_dio_mem_align, offset: stat.stx_dio_offset_align })
}

fn signed(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `madvise` with `MADV_HUGEPAGE` for the whole pages of `memory`.
pub(super) fn advise_huge<T>(memory: &mut [T]) -> io::Result<()> {
    let bytes = memory.as_mut_ptr().cast::<u8>();
    let skipped = bytes.align_offset(PAGE).min(size_of_val(memory));
    let len = (size_of_val(memory) - skipped) / PAGE * PAGE;
    // SAFETY: the range lies within the live, exclusive borrow, and the advice changes no content.
    count(unsafe { libc::madvise(bytes.add(skipped).cast(), len, libc::MADV_HUGEPAGE) } as isize).map(|_| ())
}

/// Puts the calling thread into the idle class.
pub(super) fn schedule_idle() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: thread 0 is the calling one; the kernel reads one sched_param from a live local.
    count(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &none) } as isize).map(|_| ())
}

/// `accept4`: the next connection of a listening socket, closed on exec.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: null pointers tell the kernel that the peer's address is not wanted.
    let fd =
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
    count(fd as isize)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `getsockopt` into `value`; returns how many bytes the kernel wrote.
fn socket_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most `len` bytes, the length of the exclusively borrowed `value`.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut len) };
    count(result as isize).map(|_| (len as usize).min(value.len()))
}

/// The supplementary groups of the process at the other end of a unix socket (SO_PEERGROUPS).
pub(super) fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // A process has at most 65536 groups.
    let mut bytes = vec![0; 4 << 10];
    let len = match socket_option(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut bytes) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {
            bytes.resize(4 << 16, 0);
            socket_option(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut bytes)?
        }
        other => other?,
    };
    let (groups, _) = bytes[..len].as_chunks::<4>();
    Ok(groups.iter().map(|group| u32::from_ne_bytes(*group)).collect())
}

/// Where `struct tcp_info` of the kernel has the bytes the peer acknowledged.
const BYTES_ACKED: usize = 120;

/// Bytes the peer of a TCP connection has acknowledged (TCP_INFO).
pub(super) fn bytes_acknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0; BYTES_ACKED + 8];
    let len = socket_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    match info.last_chunk::<8>() {
        Some(bytes) if len == info.len() => Ok(u64::from_ne_bytes(*bytes)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

nix::ioctl_read_bad!(tiocoutq, libc::TIOCOUTQ, libc::c_int);

/// Bytes sent that the peer has not taken (TIOCOUTQ).
pub(super) fn bytes_not_taken(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the ioctl writes one int to the pointer, which is a live local.
    unsafe { tiocoutq(fd.as_raw_fd(), &mut bytes) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Takes over a descriptor that this process was started with.
pub(super) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag; a number that is no descriptor is an error.
    count(unsafe { libc::fcntl(number, libc::F_GETFD) } as isize)?;
    // SAFETY: it is open, and by the protocol of the one caller, which runs once, nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Removes variables from the environment; an error if this process has another thread, which might be reading it.
pub(super) fn clear_environment(names: &[&str]) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the environment can be changed by a sole thread only"));
    }
    for name in names {
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}
